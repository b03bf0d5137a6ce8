/**
 * A file that only this process writes, and the value that it holds.
 *
 * Changes run one after another, each on the result of the one before. A change counts once it is on disk. The file is
 * written beside itself, flushed, and renamed, so that a complete file exists at any moment.
 *
 * Other users may be able to create files in the folder. The temporary file therefore has a random name and is created
 * exclusively: nothing that is there already is opened, neither through a link nor with the permissions of another file.
 * A link in the place of the file itself is replaced, and its target stays as it is.
 */
import { readFileSync } from 'node:fs'
import { open, rename, rm } from 'node:fs/promises'
import { dirname } from 'node:path'
import { errorCode, Fault } from '../errors.js'
import { randomBytes } from '../random.js'
import { describePath } from '../redaction.js'

export type OwnFile = {
  path: string
  /** The content at the start; undefined if the file does not exist yet. */
  text: string | undefined
  /** Replaces the file. Resolves once both content and name are on disk. */
  write(text: string): Promise<void>
}

/** Opens the file that a setting names. Throws `config/invalid` if it exists and cannot be read. */
export function openOwnFile(path: string, setting: string, random: RandomBytes = randomBytes): OwnFile {
  return { path, text: readText(path, setting), write: text => replaceFile(path, text, random) }
}

type RandomBytes = (size: number) => Buffer

export type SerializedFileOptions<T> = {
  file: OwnFile
  /** The value that the file holds at the start. */
  value: T
  format(value: T): string
  /** The fault of a change whose write failed. `code`: the errno name, such as ENOSPC. */
  toFault(code: string, cause: unknown): Fault
}

/** `next`: the new value, or undefined if nothing changes. `result`: what the caller of `update` gets. */
export type Change<T, R> = { next?: T; result: R }

export class SerializedFile<T> {
  readonly #options: SerializedFileOptions<T>
  #value: T
  #lastChange: Promise<unknown> = Promise.resolve()

  constructor(options: SerializedFileOptions<T>) {
    this.#options = options
    this.#value = options.value
  }

  get value(): T {
    return this.#value
  }

  /** Queues a change. Resolves once the new value is on disk. Rejects with the fault if it is not, and keeps the value. */
  update<R>(change: (value: T) => Change<T, R>): Promise<R> {
    const update = this.#lastChange.then(() => this.#apply(change))
    this.#lastChange = update.catch(() => {})
    return update
  }

  async #apply<R>(change: (value: T) => Change<T, R>): Promise<R> {
    const { file, format, toFault } = this.#options
    const { next, result } = change(this.#value)
    if (next === undefined) return result
    try {
      await file.write(format(next))
    } catch (thrown) {
      throw toFault(errorCode(thrown) ?? 'unknown', thrown)
    }
    this.#value = next
    return result
  }
}

function readText(path: string, setting: string): string | undefined {
  try {
    return readFileSync(path, 'utf8')
  } catch (thrown) {
    const code = errorCode(thrown) ?? 'unknown'
    if (code === 'ENOENT') return undefined
    const problem = `${setting}: cannot read ${describePath(path)}: ${code}`
    throw new Fault('config/invalid', problem, { problems: [problem] }, thrown)
  }
}

async function replaceFile(path: string, text: string, random: RandomBytes): Promise<void> {
  const temporary = `${path}.${random(16).toString('hex')}.new`
  const file = await open(temporary, CREATE_EXCLUSIVELY, 0o600)
  try {
    await flushAndClose(file, () => file.writeFile(text))
    await rename(temporary, path)
  } catch (thrown) {
    await rm(temporary, { force: true })
    throw thrown
  }
  await flushAndClose(await open(dirname(path), 'r')) // puts the new name on disk
}

/** Fails if anything has this name, even a link that leads nowhere. */
const CREATE_EXCLUSIVELY = 'wx'

type OpenFile = Awaited<ReturnType<typeof open>>

/** Runs a step, flushes the file or folder to disk, and closes it. */
async function flushAndClose(file: OpenFile, step?: () => Promise<void>): Promise<void> {
  try {
    await step?.()
    await file.sync()
  } finally {
    await file.close()
  }
}
