/**
 * Pins: the id that a principal had when it was first seen, for rules with `principalId: firstUse` (R25).
 *
 *     { "arn:aws:iam::123456789012:role/app": "AROA…" }
 *
 * A pin counts once the disk has it. The file is of one process alone: two would each write what the other never read.
 */
import { readFileSync } from 'node:fs'
import { z } from 'zod'
import { Fault } from '../errors.js'
import { readArn } from '../identity/arn.js'
import type { Identity } from '../identity/reply.js'
import { replaceFile } from './kept.js'

type Principal = Pick<Identity, 'canonical' | 'principalId'>

export type Pins = {
  /** The id that is pinned, which is this one's if none was. Throws `users/unreadable` where it cannot be kept. */
  pin(identity: Principal): Promise<string>
  /** The id that is pinned. */
  of(canonical: string): string | undefined
  size(): number
  /** Forgets a pin, so that the next one seen is pinned; false where there was none. Throws `users/unreadable`. */
  clear(canonical: string): Promise<boolean>
}

type Parts = {
  /** The text of the file; undefined where there is none yet. */
  text: string | undefined
  name: string
  /** Resolves once the text is on the disk, in the place of what was there. */
  write(text: string): Promise<void>
}

const form = z.record(
  z.string().refine(text => readArn(text) !== undefined),
  z.string().regex(/^(AIDA|AROA)[A-Z0-9]{12,124}$/),
)

/** Throws `config/invalid` for a file that is not one of pins: to forget them would trust whoever comes first. */
export function pinsOf({ text, name, write }: Parts): Pins {
  let pinned: ReadonlyMap<string, string> = text === undefined ? new Map() : readPins(text, name)
  let last: Promise<unknown> = Promise.resolve()

  /** One change after the other, each from what the one before it left. */
  const change = <T>(next: () => { to?: ReadonlyMap<string, string>; gives: T }): Promise<T> => {
    const done = last.then(async () => {
      const { to, gives } = next()
      if (!to) return gives
      try {
        await write(`${JSON.stringify(Object.fromEntries(to), null, 1)}\n`)
      } catch (thrown) {
        const code = thrown instanceof Error && 'code' in thrown ? thrown.code : 'unknown'
        throw new Fault('users/unreadable', undefined, { why: `pins.file: cannot write ${name}: ${code}` }, thrown)
      }
      pinned = to
      return gives
    })
    last = done.catch(() => {})
    return done
  }
  return {
    of: canonical => pinned.get(canonical),
    size: () => pinned.size,
    pin: async ({ canonical, principalId }) =>
      pinned.get(canonical) ??
      change(() => {
        const known = pinned.get(canonical)
        if (known !== undefined) return { gives: known }
        return { to: new Map(pinned).set(canonical, principalId), gives: principalId }
      }),
    clear: canonical =>
      change(() => {
        if (!pinned.has(canonical)) return { gives: false }
        return { to: new Map([...pinned].filter(([arn]) => arn !== canonical)), gives: true }
      }),
  }
}

/** The pins in a file of this process, which need not be there yet. Throws `config/invalid`. */
export function pinsIn(path: string): Pins {
  return pinsOf({ text: textOf(path), name: path, write: text => replaceFile(path, text) })
}

function textOf(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8')
  } catch (thrown) {
    const { code } = thrown as NodeJS.ErrnoException
    if (code === 'ENOENT') return undefined
    throw invalid(`cannot read ${path}: it gives ${code}`)
  }
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
