/**
 * Denials that were made while the proxy runs, in a file of their own. A change counts once the disk has it: the file is
 * written anew beside itself, flushed, and renamed, so that at every moment there is a whole one.
 */
import { readFileSync } from 'node:fs'
import { open, rename } from 'node:fs/promises'
import { dirname } from 'node:path'
import { Fault } from '../errors.js'
import { type Denial, nameOf, readDenials, writeDenials } from './denials.js'

export type Kept = {
  all(): readonly Denial[]
  /** False where the very same is kept already. Throws `denials/unkept`, and then nothing has changed. */
  add(denial: Denial): Promise<boolean>
  /** False where there is none about the same. Throws `denials/unkept`, and then nothing has changed. */
  remove(denial: Denial): Promise<boolean>
}

/** More than anybody denies by hand; what comes from programs belongs into the deny file. */
const MOST = 10_000

type Parts = {
  /** The text of the file; undefined where there is none yet. */
  text: string | undefined
  name: string
  /** Resolves once the text is on the disk, in the place of what was there. */
  write(text: string): Promise<void>
}

/** Throws `config/invalid` with every problem of the file. */
export function keptDenials({ text, name, write }: Parts): Kept {
  const read = text === undefined ? { all: [], problems: [] } : readDenials(text, name)
  if (read.problems.length > 0) {
    const problems = read.problems.map(problem => `deny.adminFile: ${problem}`)
    throw new Fault('config/invalid', problems.join('\n'), { problems })
  }
  let all: readonly Denial[] = read.all
  let last: Promise<unknown> = Promise.resolve()

  /** One change after the other, each from what the one before it left. */
  const change = (next: () => readonly Denial[] | undefined): Promise<boolean> => {
    const done = last.then(async () => {
      const changed = next()
      if (!changed) return false
      if (changed.length > MOST) throw new Fault('denials/unkept', `there are ${MOST} of them already`)
      try {
        await write(writeDenials(changed))
      } catch (thrown) {
        const why = thrown instanceof Error && 'code' in thrown ? String(thrown.code) : 'unknown'
        throw new Fault('denials/unkept', undefined, { file: name, why }, thrown)
      }
      all = changed
      return true
    })
    last = done.catch(() => {})
    return done
  }
  const without = (denial: Denial) => all.filter(other => nameOf(other) !== nameOf(denial))
  const same = (denial: Denial) => writeDenials([denial])
  return {
    all: () => all,
    add: denial =>
      change(() => (all.some(other => same(other) === same(denial)) ? undefined : [...without(denial), denial])),
    remove: denial => change(() => (without(denial).length < all.length ? without(denial) : undefined)),
  }
}

/** What is kept in a file of this process, which need not be there yet. Throws `config/invalid`. */
export function keptIn(path: string): Kept {
  return keptDenials({ text: textOf(path), name: path, write: text => replaceFile(path, text) })
}

function textOf(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8')
  } catch (thrown) {
    const { code } = thrown as NodeJS.ErrnoException
    if (code === 'ENOENT') return undefined
    const problem = `deny.adminFile: cannot read ${path}: it gives ${code}`
    throw new Fault('config/invalid', problem, { problems: [problem] }, thrown)
  }
}

/** Puts a text in the place of a file: both it and its name are on the disk when this resolves. */
export async function replaceFile(path: string, text: string): Promise<void> {
  const folder = dirname(path)
  const beside = `${path}.new`
  await flushed(beside, 'w', file => file.writeFile(text))
  await rename(beside, path)
  await flushed(folder, 'r')
}

async function flushed(
  path: string,
  flags: string,
  write?: (file: Awaited<ReturnType<typeof open>>) => Promise<void>,
): Promise<void> {
  const file = await open(path, flags, 0o600)
  try {
    await write?.(file)
    await file.sync()
  } finally {
    await file.close()
  }
}
