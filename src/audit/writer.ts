/**
 * Writes lines to the destination in groups, one write at a time, without blocking the event loop.
 *
 *     append ─▶ queue ─▶ write of all lines that wait ─▶ taken by the operating system ─▶ whenWritten resolves
 *                 │              │ error, or nothing taken for 5 s
 *                 │ 16 MiB       ▼
 *                 └────────▶ failing ── one try per second succeeds ─▶ working
 *
 * While the destination fails, up to 16 MiB of lines wait for it. Later ones are lost until it works again. There is no
 * fsync: a lost machine may lose the last events, and a killed process loses none that were taken.
 */
import type { After } from '../clock.js'
import type { AuditDestination } from './destination.js'

/** More waiting bytes than this are a failure. */
const MAX_WAITING_BYTES = 16 * 1024 * 1024
/** A destination that takes nothing for this long fails. Milliseconds. */
const STUCK_MS = 5_000
/** Interval between two tries of a destination that fails. Milliseconds. */
const RETRY_MS = 1_000
/** One write has at most about this many characters. */
const MAX_WRITE = 1024 * 1024

/** Numbers of events. */
export type LostEvents = { from: number; to: number }

export type AuditWriterOptions = {
  destination: Pick<AuditDestination, 'write' | 'recover' | 'close'>
  after: After
  /** Runs a step once what is in progress has been handled. */
  defer(run: () => void): void
  /** Called when the destination begins to fail, with the reason, and with undefined when it works again. */
  onFailureChange(why: string | undefined): void
  /** Called for each lost event. */
  onLost(): void
}

type Batch = { bytes: Buffer; taken: number; lines: number }
type Waiter = { line: number; resolve(isWritten: boolean): void }

export class AuditWriter {
  readonly #options: AuditWriterOptions
  #queue: string[] = []
  #waitingBytes = 0
  /** Lines that were ever queued, and those that the operating system has taken. */
  #queuedLines = 0
  #writtenLines = 0
  /** The lines that are being written, and how many of their bytes were taken. */
  #batch: Batch | undefined
  #isWriting = false
  #isDeferred = false
  #waiters: Waiter[] = []
  #failure: string | undefined
  #lost: LostEvents | undefined
  #cancelTimer = (): void => {}
  #reportRecovered: (lost: LostEvents | undefined) => void = () => {}
  #isClosing = false
  #onIdle: (() => void) | undefined

  constructor(options: AuditWriterOptions) {
    this.#options = options
  }

  /** Sets the function that is called when the destination works again, before any later line. */
  onRecovered(run: (lost: LostEvents | undefined) => void): void {
    this.#reportRecovered = run
  }

  get isFailing(): boolean {
    return this.#failure !== undefined
  }

  get waitingBytes(): number {
    return this.#waitingBytes
  }

  /** Queues the line of event `number`, which ends in a newline; or loses it. */
  append(number: number, line: string): void {
    const bytes = Buffer.byteLength(line)
    if (this.#lost || this.#waitingBytes + bytes > MAX_WAITING_BYTES) {
      this.#lose(number)
      return
    }
    this.#queue.push(line)
    this.#waitingBytes += bytes
    this.#queuedLines += 1
    if (this.#isWriting || this.#isDeferred || this.#failure !== undefined) return
    this.#isDeferred = true
    this.#options.defer(() => {
      this.#isDeferred = false
      this.#writeNext()
    })
  }

  /** Resolves with true once all lines so far were taken; with false if the destination fails, or begins to. */
  whenWritten(): Promise<boolean> {
    if (this.#failure !== undefined) return Promise.resolve(false)
    if (this.#writtenLines === this.#queuedLines) return Promise.resolve(true)
    return new Promise(resolve => this.#waiters.push({ line: this.#queuedLines, resolve }))
  }

  /** Writes what waits, for at most `STUCK_MS`, and closes the destination. */
  async close(): Promise<void> {
    this.#isClosing = true
    if (!this.#isIdle() && this.#failure === undefined) {
      await new Promise<void>(resolve => {
        const cancel = this.#options.after(STUCK_MS, resolve)
        this.#onIdle = () => {
          cancel()
          resolve()
        }
      })
    }
    this.#cancelTimer()
    this.#options.destination.close()
  }

  #isIdle(): boolean {
    return this.#queue.length === 0 && !this.#batch
  }

  #lose(number: number): void {
    this.#lost = { from: this.#lost?.from ?? number, to: number }
    this.#options.onLost()
    this.#fail(`more than ${MAX_WAITING_BYTES / 1024 / 1024} MiB wait to be written`)
  }

  #writeNext(): void {
    if (this.#isWriting) return
    this.#batch ??= this.#takeBatch()
    const batch = this.#batch
    if (!batch) {
      this.#onIdle?.()
      return
    }
    this.#isWriting = true
    this.#cancelTimer()
    this.#cancelTimer = this.#options.after(STUCK_MS, () =>
      this.#fail(`it has taken nothing for ${STUCK_MS / 1000} seconds`),
    )
    this.#options.destination.write(batch.bytes.subarray(batch.taken), (error, taken) => this.#onWritten(error, taken))
  }

  #takeBatch(): Batch | undefined {
    if (this.#queue.length === 0) return undefined
    let characters = 0
    let lines = 0
    while (lines < this.#queue.length && characters < MAX_WRITE) characters += this.#queue[lines++]?.length ?? 0
    const text = this.#queue.slice(0, lines).join('')
    this.#queue = this.#queue.slice(lines)
    return { bytes: Buffer.from(text), taken: 0, lines }
  }

  #onWritten(error: Error | null, taken: number): void {
    const batch = this.#batch
    if (!batch) return
    this.#isWriting = false
    this.#cancelTimer()
    batch.taken += taken
    this.#waitingBytes -= taken
    if (error) {
      this.#onError(error)
      return
    }
    if (batch.taken === batch.bytes.length) {
      this.#writtenLines += batch.lines
      this.#batch = undefined
      this.#resolveWaiters()
    }
    if (taken > 0) this.#recover()
    this.#writeNext()
  }

  #onError({ message }: Error): void {
    this.#fail(message)
    if (this.#isClosing) this.#onIdle?.()
    else this.#cancelTimer = this.#options.after(RETRY_MS, () => this.#retry())
  }

  /** A destination that was opened anew has the beginning of no line, so the current line is written again. */
  #retry(): void {
    const isNew = this.#options.destination.recover()
    const batch = this.#batch
    if (isNew && batch && batch.taken > 0) {
      const lineStart = batch.bytes.lastIndexOf('\n', batch.taken - 1) + 1
      this.#waitingBytes += batch.taken - lineStart
      batch.taken = lineStart
    }
    this.#writeNext()
  }

  #fail(why: string): void {
    if (this.#failure !== undefined) return
    this.#failure = why
    const waiters = this.#waiters
    this.#waiters = []
    for (const { resolve } of waiters) resolve(false)
    this.#options.onFailureChange(why)
  }

  #recover(): void {
    if (this.#failure === undefined) return
    this.#failure = undefined
    const lost = this.#lost
    this.#lost = undefined
    this.#options.onFailureChange(undefined)
    this.#reportRecovered(lost)
  }

  #resolveWaiters(): void {
    let resolved = 0
    for (const { line, resolve } of this.#waiters) {
      if (line > this.#writtenLines) break
      resolve(true)
      resolved += 1
    }
    if (resolved > 0) this.#waiters = this.#waiters.slice(resolved)
  }
}
