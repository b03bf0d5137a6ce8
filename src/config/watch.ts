/**
 * The files that a configuration was read from, watched. Which they are is known from having read it, so a file that a
 * changed configuration names is watched from then on.
 *
 *     something moved in a folder ─┐                      ┌─ different: read again in 250 ms
 *     a look every five seconds ───┼─▶ read ─ 250 ms ─▶ read ─ the same as before ─▶ settled
 *     asked for ───────────────────┘
 *
 * Two reads have to be equal (R26), since a file may be met while it is written, and half of it may look whole. Folders
 * are watched and not files: a rename puts another file in its place, and Kubernetes swaps a link in the middle of the path.
 */
import { createHash } from 'node:crypto'
import { statSync, watch } from 'node:fs'
import { dirname, resolve } from 'node:path'
import type { After } from '../clock.js'
import { errorCode } from '../errors.js'
import type { ReadFile } from './reading.js'

/** Of each path that was read: what it held, and how it looked just before. */
export type Noted = ReadonlyMap<string, { digest: string; look: string }>

export type WatchParts<T> = {
  /** Reads the configuration and all that it names, through this function alone. Throws nothing. */
  attempt(read: ReadFile): T
  /** What an attempt came to, once the files hold still and are not those of before. */
  settled(outcome: T): void
  read: ReadFile
  /** Something that changes with the file at this path, cheaply; `NO_FILE` for a pipe, which can be read only once. */
  look(path: string): string
  /** Calls whenever something moves in a folder, until the returned function is called. May be deaf: looks are the net. */
  watch(folder: string, moved: () => void): () => void
  after: After
  /** Told, when asked, of a path that can be read only once: so nothing is read again. */
  deaf(path: string): void
}

export type Watch = {
  /** Reads now, and settles even if nothing changed; see `deaf`. */
  ask(): void
  close(): void
}

/** Between two reads that have to be equal. Milliseconds. */
const HOLD_MS = 250
/** One rename moves several things. */
const DEBOUNCE_MS = 50
const LOOK_MS = 5_000

export const NO_FILE = 'no file'

/** The same function, and a note of each path that it is called with. */
export function noting(read: ReadFile, look: (path: string) => string): { read: ReadFile; noted: Noted } {
  const noted = new Map<string, { digest: string; look: string }>()
  return {
    noted,
    read(path) {
      const before = look(path)
      const note = (digest: string) => noted.set(path, { digest, look: before })
      try {
        const result = read(path)
        note(createHash('sha256').update(result.bytes).digest('base64'))
        return result
      } catch (thrown) {
        note(`none: ${errorCode(thrown) ?? thrown}`)
        throw thrown
      }
    },
  }
}

/** Watches from what was `first` read. Files that changed since are found at once. */
export function watchFiles<T>(parts: WatchParts<T>, first: Noted): Watch {
  const { after, attempt, settled } = parts
  const [pipe] = [...first].find(([, { look }]) => look === NO_FILE) ?? []
  if (pipe !== undefined) return { ask: () => parts.deaf(pipe), close: () => {} }
  let known = first
  let asked = false
  let reading = false
  let closed = false
  let stirred = false
  let cancel = (): void => {}
  let folders: (() => void)[] = []

  const wait = (ms: number, run: () => void): void => {
    cancel()
    cancel = after(ms, run)
  }
  const rest = (): void => wait(LOOK_MS, lookAround)
  const lookAround = (): void => {
    stirred = false
    if ([...known].some(([path, { look }]) => parts.look(path) !== look)) begin()
    else rest()
  }
  const stir = (): void => {
    if (closed || reading || stirred) return
    stirred = true
    wait(DEBOUNCE_MS, lookAround)
  }
  const readOnce = () => {
    const { read, noted } = noting(parts.read, parts.look)
    return { outcome: attempt(read), noted }
  }
  const begin = (): void => {
    reading = true
    const { noted } = readOnce()
    wait(HOLD_MS, () => hold(noted))
  }
  const hold = (before: Noted): void => {
    const { outcome, noted } = readOnce()
    if (!isStill(before, noted)) {
      wait(HOLD_MS, () => hold(noted))
      return
    }
    const changed = asked || !isSame(known, noted)
    known = noted
    asked = false
    reading = false
    stirred = false
    listen()
    rest()
    if (changed) settled(outcome)
  }
  const listen = (): void => {
    for (const stop of folders) stop()
    folders = [...new Set([...known.keys()].map(path => dirname(resolve(path))))].map(folder =>
      parts.watch(folder, stir),
    )
  }
  listen()
  begin()
  return {
    ask() {
      if (closed) return
      asked = true
      if (!reading) begin()
    },
    close() {
      closed = true
      cancel()
      for (const stop of folders.splice(0)) stop()
    },
  }
}

function isSame(one: Noted, other: Noted): boolean {
  return one.size === other.size && [...one].every(([path, { digest }]) => other.get(path)?.digest === digest)
}

/** The same, and not written in between either: what is written again and again may be cut both times. */
function isStill(one: Noted, other: Noted): boolean {
  return isSame(one, other) && [...one].every(([path, { look }]) => other.get(path)?.look === look)
}

/** How a file looks; what a link leads to counts, not the link. */
export function lookAt(path: string): string {
  try {
    const stat = statSync(path, { bigint: true })
    if (!stat.isFile() && !stat.isDirectory()) return NO_FILE
    return [stat.dev, stat.ino, stat.size, stat.mtimeNs, stat.ctimeNs].join(' ')
  } catch (thrown) {
    return `none: ${errorCode(thrown)}`
  }
}

/** Listens to a folder as well as its file system can. */
export function watchFolder(folder: string, moved: () => void): () => void {
  try {
    const watcher = watch(folder, { persistent: false }, moved)
    watcher.on('error', () => watcher.close())
    return () => watcher.close()
  } catch {
    return () => {}
  }
}
