/**
 * Sends the status page to browsers that watch it, as server-sent events.
 *
 *     sample ─▶ tick() ─▶ render once ─▶ the same bytes to every stream
 *
 *     sections   { id: html }     all sections at first, then those that have changed
 *     series     StatusSeries     all samples at first, and again when other buckets get columns
 *     sample     StatusSample     the newest sample
 *
 * Without a stream nothing is rendered. A stream costs memory only while its client does not read, and that is bounded.
 * https://html.spec.whatwg.org/multipage/server-sent-events.html
 */
import type { ResponseStream } from '../admin/http.js'
import type { After } from '../clock.js'
import { Fault } from '../errors.js'
import { SAMPLE_MS, type StatusSample } from './series.js'
import type { StatusSeries } from './snapshot.js'

/** What the page shows at one moment. */
export type LiveView = {
  /** The HTML of each section by its id. */
  sections: Readonly<Record<string, string>>
  /** The newest sample; undefined before the first one. */
  sample: StatusSample | undefined
  series(): StatusSeries
}

export type EventStreamsOptions = {
  /** Streams at a time. */
  max: number
  render(): LiveView
  after: After
  /** Called with the reason why a view could not be rendered. Streams stay open. */
  onError(fault: Fault): void
}

type Stream = { response: ResponseStream; isPermitted(): boolean; cancelEnd(): void }

const LIFETIME_MS = 15 * 60_000
/** Proxies close connections that are silent for half a minute or more. */
const COMMENT_TICKS = 15_000 / SAMPLE_MS
const MAX_UNREAD_BYTES = 256 * 1024

export class EventStreams {
  readonly #options: EventStreamsOptions
  readonly #streams = new Set<Stream>()
  /** What every stream has got. */
  #sent: Readonly<Record<string, string>> = {}
  #columns = ''
  #ticks = 0

  constructor(options: EventStreamsOptions) {
    this.#options = options
  }

  get isFull(): boolean {
    return this.#streams.size >= this.#options.max
  }

  get count(): number {
    return this.#streams.size
  }

  /** Sends everything, and from now on what changes. `isPermitted`: whether the client may still read. */
  open(response: ResponseStream, isPermitted: () => boolean): void {
    const view = this.#options.render()
    if (this.#streams.size === 0) {
      this.#sent = view.sections
      this.#columns = describeColumns(view.sample)
    }
    const stream: Stream = {
      response,
      isPermitted,
      cancelEnd: this.#options.after(LIFETIME_MS, () => {
        this.#remove(stream)
        response.end()
      }),
    }
    this.#streams.add(stream)
    response.onClose(() => this.#remove(stream))
    response.write(encode([formatEvent('sections', this.#sent), formatEvent('series', view.series())]))
  }

  /** Call this after each sample. */
  tick(): void {
    for (const stream of this.#streams) {
      if (!stream.isPermitted() || stream.response.unreadBytes > MAX_UNREAD_BYTES) {
        this.#remove(stream)
        stream.response.destroy()
      }
    }
    if (this.#streams.size === 0) return
    const bytes = this.#renderUpdate()
    if (bytes.length === 0) return
    for (const { response } of this.#streams) response.write(bytes)
  }

  #renderUpdate(): Buffer {
    this.#ticks += 1
    const comment = this.#ticks % COMMENT_TICKS === 0 ? [':\n\n'] : []
    try {
      return encode([...this.#renderChanges(), ...comment])
    } catch (thrown) {
      this.#options.onError(Fault.from(thrown))
      return encode(comment)
    }
  }

  #renderChanges(): string[] {
    const { sections, sample, series } = this.#options.render()
    const changed = Object.entries(sections).filter(([id, html]) => this.#sent[id] !== html)
    const columns = describeColumns(sample)
    const isSame = columns === this.#columns
    this.#sent = sections
    this.#columns = columns
    return [
      ...(changed.length > 0 ? [formatEvent('sections', Object.fromEntries(changed))] : []),
      ...(isSame ? [formatEvent('sample', sample)] : [formatEvent('series', series())]),
    ]
  }

  #remove(stream: Stream): void {
    stream.cancelEnd()
    this.#streams.delete(stream)
  }
}

/** JSON has no line break, which would end the data. */
const formatEvent = (name: string, data: unknown): string => `event: ${name}\ndata: ${JSON.stringify(data)}\n\n`

const encode = (parts: readonly string[]): Buffer => Buffer.from(parts.join(''))

const describeColumns = (sample: StatusSample | undefined): string =>
  JSON.stringify(sample && [Object.keys(sample.waiting), Object.keys(sample.tokens)])
