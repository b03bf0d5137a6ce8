/** Events, one JSON line each, and `Secret`, a value that cannot be printed by accident. */
import { inspect } from 'node:util'
import { pino } from 'pino'
import type { Facts, Level } from './errors.js'

/** Everything the program ever reports, in the past tense. Metrics use the same words. */
export type Event =
  | 'started'
  | 'ready'
  | 'accepted'
  | 'challenged'
  | 'admitted'
  | 'refused'
  | 'closed'
  | 'shed'
  | 'draining'
  | 'stopped'
  | 'upstream changed'
  | 'upstream lost'
  | 'ldap answered'
  | 'clock drifted'
  | 'reloaded'
  | 'vanished'
  | 'denied'
  | 'no longer denied'
  | 'provisioned'
  | 'problem found'
  | 'failed'

export type Log = {
  (level: Level, event: Event, facts?: Facts): void
  /** The same log with these facts on every line. */
  with(facts: Facts): Log
}

/** A log onto a stream, stderr unless told: stdout belongs to what commands print. */
export function logTo(level: Level | 'silent', stream: { write(line: string): void } = process.stderr): Log {
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
  // A child is made when it first writes: most connections write one line, at their end.
  const wrap = (logger: () => typeof root): Log =>
    Object.assign(
      (lvl: Level, event: Event, facts: Facts = {}) => {
        if (root.isLevelEnabled(lvl)) logger()[lvl](facts, event)
      },
      {
        with(facts: Facts) {
          let child: typeof root | undefined
          return wrap(() => {
            child ??= logger().child(facts)
            return child
          })
        },
      },
    )
  return wrap(() => root)
}

/** A log that says nothing. */
export const silent: Log = Object.assign(() => {}, { with: () => silent })

/** A value that is used and never shown: JSON, strings and inspection give `[secret]`; `reveal` is the one way in. */
export class Secret {
  readonly #value: string
  constructor(value: string) {
    this.#value = value
  }
  reveal(): string {
    return this.#value
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
