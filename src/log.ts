/** The log, one JSON object per line; and `Secret`, a value that cannot be printed by accident. */
import { createHash, timingSafeEqual } from 'node:crypto'
import { inspect } from 'node:util'
import { pino } from 'pino'
import type { Facts, Level } from './errors.js'
import type { LogEvent, logEvents } from './logEvents.js'
import type { LogField } from './logFields.js'
import { boundValue, escapeUnprintable, MAX_TEXT, truncate } from './printable.js'

type Definition<E extends LogEvent> = (typeof logEvents)[E]

/** The fields that a line of this event may have. */
export type LogFields<E extends LogEvent> = {
  readonly [F in Definition<E>['fields'][number]]?: unknown
} & (Definition<E> extends {
  fault: true
}
  ? Facts
  : unknown)

export type Log = <E extends LogEvent>(level: Definition<E>['levels'][number], event: E, fields?: LogFields<E>) => void

export type LogStream = { write(lines: string): unknown }

/** A line waits at most this long for others, in milliseconds. */
const FLUSH_MS = 20
/** More characters than this are written at once. */
const MAX_BUFFERED = 16_384

/**
 * Joins lines into few writes, because each write to stderr blocks the event loop until the system has taken it.
 * `schedule` calls its argument a moment later; `flush` writes what is buffered.
 */
export function createBufferedStream(
  { write }: LogStream,
  schedule: (flush: () => void) => void,
): LogStream & { flush(): void } {
  let buffered = ''
  const flush = (): void => {
    const lines = buffered
    buffered = ''
    if (lines !== '') write(lines)
  }
  return {
    flush,
    write(line) {
      if (buffered === '') schedule(flush)
      buffered += line
      if (buffered.length > MAX_BUFFERED) flush()
    },
  }
}

/**
 * Stderr, buffered. No line is lost when the process exits, by `process.exit` or by an uncaught exception: Node.js writes
 * to files, pipes and terminals synchronously, so the flush in the exit handler is in time.
 */
function createStderrStream(): LogStream & { flush(): void } {
  const { stderr } = process
  const stream = createBufferedStream({ write: text => stderr.write(text) }, flush =>
    setTimeout(flush, FLUSH_MS).unref(),
  )
  process.once('exit', stream.flush)
  return stream
}

/** ARNs are verified by STS, and names of database users may be ARNs. A stack trace is the only description of a bug. */
const MAX_TEXT_OF: Partial<Record<LogField, number>> = { arn: 2_048, user: 2_048, stack: 8_192 }
/** Bounds every text in the fields of a line, however deep. The end of a truncated text or list is `…`. */
function boundFields(fields: Record<string, unknown>): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(fields).map(([name, value]) => [
      truncate(name, MAX_TEXT),
      boundValue(value, MAX_TEXT_OF[name as LogField] ?? MAX_TEXT),
    ]),
  )
}

export type LeveledLog = Log & {
  /** Changes the lowest level that is logged. */
  setLevel(level: Level): void
}

/**
 * Creates a log that writes to a stream. The default is stderr, because stdout belongs to the output of commands. A line of
 * level error is flushed at once. `hide` replaces what must not be shown in a line. Texts of clients, servers and AWS are bounded and escaped here and nowhere else.
 */
export function createLog(
  level: Level | 'silent',
  stream: LogStream & { flush?(): void } = createStderrStream(),
  hide: (line: string) => string = line => line,
): LeveledLog {
  const root = pino(
    {
      level,
      base: null,
      messageKey: 'event',
      timestamp: () => `,"time":"${new Date().toISOString()}"`,
      formatters: { level: label => ({ level: label }) },
    },
    { write: line => void stream.write(`${escapeUnprintable(hide(line.slice(0, -1)))}\n`) },
  )
  const log: Log = (lineLevel: Level, event, fields) => {
    if (root.isLevelEnabled(lineLevel)) root[lineLevel](boundFields({ ...fields }), event)
    if (lineLevel === 'error') stream.flush?.()
  }
  return Object.assign(log, {
    setLevel(level: Level) {
      root.level = level
    },
  })
}

/** A log that writes nothing. */
export const silentLog: Log = () => {}

/** A value that is used but never shown: JSON, strings and inspection give `[secret]`. Only `reveal` returns it. */
export class Secret {
  readonly #value: string
  constructor(value: string) {
    this.#value = value
  }
  reveal(): string {
    return this.#value
  }
  /** Takes the same time however much of the other value is right. */
  equals(other: Secret): boolean {
    return timingSafeEqual(sha256(this.#value), sha256(other.#value))
  }
  toString(): string {
    return '[secret]'
  }
  toJSON(): string {
    return '[secret]'
  }
  [inspect.custom](): string {
    return '[secret]'
  }
}

const sha256 = (text: string): Buffer => createHash('sha256').update(text).digest()
