/**
 * Pins: the id that a principal had when it was first seen, for rules with `principalId: firstUse` (R25).
 *
 *     { "arn:aws:iam::123456789012:role/app": "AROA…" }
 *
 * A pin counts once the disk has it. The file is of one process alone: two would each write what the other never read.
 */
import { z } from 'zod'
import { errorCode, Fault } from '../errors.js'
import { parseArn } from '../identity/arn.js'
import type { Identity } from '../identity/reply.js'
import { type Log, silentLog } from '../log.js'
import { type OwnFile, ownFile } from './serializedFile.js'

type Principal = Pick<Identity, 'canonical' | 'principalId'>

export type Pins = {
  /** The id that is pinned, which is this one's if none was. Throws `users/unreadable` where it cannot be kept. */
  pin(identity: Principal): Promise<string>
  /** The id that is pinned. */
  get(canonical: string): string | undefined
  /** Ids by canonical ARN. */
  all(): ReadonlyMap<string, string>
  /**
   * Forgets a pin, so that the next one seen is pinned. Resolves to the id that it was, undefined where there was none.
   * Throws `users/unreadable`.
   */
  clear(canonical: string): Promise<string | undefined>
}

/** A change of what is pinned, if it is one, what its asker is given, and what the log says of it. */
type Change<T> = {
  to?: ReadonlyMap<string, string>
  gives: T
  event?: { event: 'principal id pinned' | 'principal id unpinned'; arn: string; principalId: string }
}

const form = z.record(
  z.string().refine(text => parseArn(text) !== undefined),
  z.string().regex(/^(AIDA|AROA)[A-Z0-9]{12,124}$/),
)

/** Throws `config/invalid` for a file that is not one of pins: to forget them would trust whoever comes first. */
export function createPins({ text, name, write, log }: OwnFile & { log: Log }): Pins {
  let pinned: ReadonlyMap<string, string> = text === undefined ? new Map() : readPins(text, name)
  let last: Promise<unknown> = Promise.resolve()

  /** One change after the other, each from what the one before it left. */
  const change = <T>(next: () => Change<T>): Promise<T> => {
    const done = last.then(async () => {
      const { to, gives, event: { event, ...facts } = {} } = next()
      if (!to) return gives
      try {
        await write(`${JSON.stringify(Object.fromEntries(to), null, 1)}\n`)
      } catch (thrown) {
        const code = errorCode(thrown) ?? 'unknown'
        throw new Fault('users/unreadable', undefined, { why: `pins.file: cannot write ${name}: ${code}` }, thrown)
      }
      pinned = to
      if (event) log(event === 'principal id pinned' ? 'info' : 'warn', event, facts)
      return gives
    })
    last = done.catch(() => {})
    return done
  }
  return {
    get: canonical => pinned.get(canonical),
    all: () => pinned,
    pin: async ({ canonical: arn, principalId }) =>
      pinned.get(arn) ??
      change(() => {
        const known = pinned.get(arn)
        if (known !== undefined) return { gives: known }
        const event = { event: 'principal id pinned', arn, principalId } as const
        return { to: new Map(pinned).set(arn, principalId), gives: principalId, event }
      }),
    clear: arn =>
      change(() => {
        const principalId = pinned.get(arn)
        if (principalId === undefined) return { gives: undefined }
        const event = { event: 'principal id unpinned', arn, principalId } as const
        return { to: new Map([...pinned].filter(([other]) => other !== arn)), gives: principalId, event }
      }),
  }
}

/** The pins in a file of this process, which need not be there yet. Throws `config/invalid`. */
export function openPins(path: string, log: Log = silentLog): Pins {
  return createPins({ ...ownFile(path, 'pins.file'), log })
}

function readPins(text: string, name: string): Map<string, string> {
  try {
    return new Map(Object.entries(form.parse(JSON.parse(text))))
  } catch {
    throw invalid(`${name} is not a file of pins; put back a copy of it, or move it away to pin anew`)
  }
}

function invalid(why: string): Fault {
  const problem = `pins.file: ${why}`
  return new Fault('config/invalid', problem, { problems: [problem] })
}
