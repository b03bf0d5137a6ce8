/** Events, one JSON line each, and `Secret`, a value that cannot be printed by accident. */
import { createHash, timingSafeEqual } from 'node:crypto'
import { inspect } from 'node:util'
import { pino } from 'pino'
import type { Facts, Level } from './errors.js'

/** Everything the program ever reports, in the past tense. Metrics use the same words. */
export type LogEvent =
  | 'ready'
  | 'draining'
  | 'stopped'
  | 'connection closed'
  | 'connection shed'
  | 'tls handshake failed'
  | 'command refused'
  | 'login succeeded'
  | 'shadow limit exceeded'
  | 'log lines suppressed'
  | 'sts host ejected'
  | 'sts host restored'
  | 'sts host unreachable'
  | 'clock skew detected'
  | 'upstream state changed'
  | 'upstream unreachable'
  | 'advertised address missing'
  | 'ldap authorization checked'
  | 'configuration warning'
  | 'configuration reloaded'
  | 'configuration rejected'
  | 'restart required'
  | 'rule removed'
  | 'denial added'
  | 'denial removed'
  | 'denial not persisted'
  | 'deny file reloaded'
  | 'principal id pinned'
  | 'principal id unpinned'
  | 'directory entry invalid'
  | 'directory unreadable'
  | 'directory restored'
  | 'database user changed'
  | 'provisioning failed'
  | 'admin request refused'
  | 'admin request failed'

export type Log = (level: Level, event: LogEvent, facts?: Facts) => void

export type LogStream = { write(lines: string): unknown }

/** A line waits for others at most this long, in milliseconds, and for so many characters of them. */
const GATHER_MS = 20
const MOST = 16_384

/**
 * Passes lines on many at a time, as each write to stderr keeps everybody waiting until the system has taken it. `flush`
 * passes on what is there. `later` has it called in a moment.
 */
export function createBufferedStream(
  { write }: LogStream,
  later: (flush: () => void) => void,
): LogStream & { flush(): void } {
  let held = ''
  const flush = (): void => {
    const lines = held
    held = ''
    if (lines !== '') write(lines)
  }
  return {
    flush,
    write(line) {
      if (held === '') later(flush)
      held += line
      if (held.length > MOST) flush()
    },
  }
}

/**
 * Stderr, line for line in order, and whole also where the process ends of itself, by `process.exit` or by what nobody
 * caught: node writes to files, pipes and terminals before it goes on, so the last flush is in time.
 */
function stderr(): LogStream & { flush(): void } {
  const { stderr } = process
  const lines = createBufferedStream({ write: text => stderr.write(text) }, flush =>
    setTimeout(flush, GATHER_MS).unref(),
  )
  process.once('exit', lines.flush)
  return lines
}

/** `least`: what is logged from now on. */
export type LeveledLog = Log & { least(level: Level): void }

/** A log onto a stream, stderr unless told: stdout belongs to what commands print. Errors are written at once. */
export function createLog(level: Level | 'silent', stream: LogStream & { flush?(): void } = stderr()): LeveledLog {
  const root = pino(
    {
      level,
      base: null,
      messageKey: 'event',
      timestamp: () => `,"time":"${new Date().toISOString()}"`,
      formatters: { level: label => ({ level: label }) },
    },
    stream,
  )
  const log: Log = (lvl, event, facts = {}) => {
    if (root.isLevelEnabled(lvl)) root[lvl]({ ...facts }, event)
    if (lvl === 'error') stream.flush?.()
  }
  return Object.assign(log, {
    least(level: Level) {
      root.level = level
    },
  })
}

/** A log that says nothing. */
export const silentLog: Log = () => {}

/** A value that is used and never shown: JSON, strings and inspection give `[secret]`; `reveal` is the one way in. */
export class Secret {
  readonly #value: string
  constructor(value: string) {
    this.#value = value
  }
  reveal(): string {
    return this.#value
  }
  /** In a time that does not depend on how much of it is right. */
  equals(other: Secret): boolean {
    return timingSafeEqual(digest(this.#value), digest(other.#value))
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

const digest = (text: string): Buffer => createHash('sha256').update(text).digest()
