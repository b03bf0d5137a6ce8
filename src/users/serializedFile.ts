/**
 * A file that this process writes and nobody else: anew beside itself, flushed, and renamed, so that at every moment there
 * is a whole one.
 */
import { readFileSync } from 'node:fs'
import { open, rename } from 'node:fs/promises'
import { dirname } from 'node:path'
import { errorCode, Fault } from '../errors.js'

export type OwnFile = {
  /** What it holds; undefined where there is none yet. */
  text: string | undefined
  name: string
  /** Resolves once the text is on the disk, in the place of what was there. */
  write(text: string): Promise<void>
}

/** The file of a setting. Throws `config/invalid` where it is there and cannot be read. */
export function ownFile(path: string, setting: string): OwnFile {
  return { text: textOf(path, setting), name: path, write: text => replace(path, text) }
}

function textOf(path: string, setting: string): string | undefined {
  try {
    return readFileSync(path, 'utf8')
  } catch (thrown) {
    const code = errorCode(thrown)
    if (code === 'ENOENT') return undefined
    const problem = `${setting}: cannot read ${path}: it gives ${code}`
    throw new Fault('config/invalid', problem, { problems: [problem] }, thrown)
  }
}

/** Both the text and the name are on the disk when this resolves. */
async function replace(path: string, text: string): Promise<void> {
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
