/**
 * Watches the files that a configuration was read from. Loading a configuration shows which files these are, so a file
 * that a changed configuration names is watched from then on.
 *
 *     an event in a folder ─┐
 *     a check every 5 s ────┴─▶ contents differ ─┐                              ┌─ different ─▶ load again
 *     requestReload() ───────────────────────────┴─▶ load ─ 250 ms ─▶ read again ┴─ equal ─────▶ onSettled
 *
 * Two reads must be equal because a file can be read while it is being written, and a YAML list cut at a line end is a
 * valid list. The watch covers folders, not files: a rename replaces the file, and Kubernetes swaps a symbolic link
 * higher up in the path.
 */
import { createHash } from 'node:crypto'
import { statSync, watch } from 'node:fs'
import { dirname, resolve } from 'node:path'
import type { After } from '../clock.js'
import { errorCode } from '../errors.js'
import type { ReadFile } from './reading.js'

/** One file at one moment: the digest of its contents, and its stamp just before they were read. */
type FileState = { digest: string; stamp: string }

/** Every path that was read, with the state in which it was found. */
export type Snapshot = ReadonlyMap<string, FileState>

export type FileWatcherOptions<T> = {
  /** Loads the configuration and every file that it names, through this function only. Must not throw. */
  load(read: ReadFile): T
  /** Receives the result of a load whose files differ from the last ones and have stopped changing. */
  onSettled(result: T): void
  read: ReadFile
  /** Text that changes with the file at this path and is cheap to get, or `NOT_A_FILE`. */
  stamp(path: string): string
  /**
   * Calls `onEvent` for every event in a folder until the returned function is called. Events may be missing: the
   * regular check finds the change.
   */
  watchFolder(folder: string, onEvent: () => void): () => void
  after: After
  /** Called instead of a requested reload where this path is a pipe, which can be read only once. */
  onUnwatchable(path: string): void
}

export type FileWatcher = {
  /** Loads now, and reports the result even if no file has changed. */
  requestReload(): void
  close(): void
}

/** Time between the two reads that must be equal. Milliseconds. */
const HOLD_MS = 250
/** One rename causes several events. Milliseconds. */
const DEBOUNCE_MS = 50
/** Milliseconds. */
const CHECK_MS = 5_000

/** The stamp of a path that is neither a file nor a folder, such as a pipe. */
export const NOT_A_FILE = 'not a file'

/** Wraps `read` so that every path that it is called with is recorded in the snapshot. */
export function recordReads(read: ReadFile, stamp: (path: string) => string): { read: ReadFile; snapshot: Snapshot } {
  const snapshot = new Map<string, FileState>()
  return {
    snapshot,
    read(path) {
      const before = stamp(path)
      const record = (digest: string) => snapshot.set(path, { digest, stamp: before })
      try {
        const result = read(path)
        record(createHash('sha256').update(result.bytes).digest('base64'))
        return result
      } catch (thrown) {
        record(`none: ${errorCode(thrown) ?? thrown}`)
        throw thrown
      }
    },
  }
}

/** Watches the files of `initial`, which are read again 250 ms later: a file that changed in between is found. */
export function watchFiles<T>(options: FileWatcherOptions<T>, initial: Snapshot): FileWatcher {
  const [pipe] = [...initial].find(([, { stamp }]) => stamp === NOT_A_FILE) ?? []
  if (pipe !== undefined) return { requestReload: () => options.onUnwatchable(pipe), close: () => {} }
  return new SnapshotWatcher(options, initial)
}

class SnapshotWatcher<T> implements FileWatcher {
  readonly #options: FileWatcherOptions<T>
  #known: Snapshot
  #requested = false
  #loading = false
  #closed = false
  /** A check is scheduled, so an event need not schedule one. Also true until the first check, which compares contents. */
  #checkPending = true
  #cancelTimer = (): void => {}
  #stopWatching: (() => void)[] = []

  constructor(options: FileWatcherOptions<T>, initial: Snapshot) {
    this.#options = options
    this.#known = initial
    this.#watchFolders()
    this.#schedule(HOLD_MS, () => this.#checkContents())
  }

  requestReload(): void {
    if (this.#closed) return
    this.#requested = true
    if (!this.#loading) this.#load()
  }

  close(): void {
    this.#closed = true
    this.#cancelTimer()
    for (const stop of this.#stopWatching.splice(0)) stop()
  }

  #schedule(ms: number, run: () => void): void {
    this.#cancelTimer()
    this.#cancelTimer = this.#options.after(ms, run)
  }

  #onEvent(): void {
    if (this.#closed || this.#loading || this.#checkPending) return
    this.#checkPending = true
    this.#schedule(DEBOUNCE_MS, () => this.#checkStamps())
  }

  #idle(): void {
    this.#checkPending = false
    this.#schedule(CHECK_MS, () => this.#checkStamps())
  }

  #checkStamps(): void {
    const changed = [...this.#known].some(([path, { stamp }]) => this.#options.stamp(path) !== stamp)
    if (changed) this.#checkContents()
    else this.#idle()
  }

  /** Contents that are the known ones need no load: the file was touched, or written with the same text. */
  #checkContents(): void {
    const current = this.#readAgain(this.#known)
    if (hasSameContents(this.#known, current)) {
      this.#known = current
      this.#watchFolders() // a folder may have been replaced by an equal one
      this.#idle()
    } else this.#load()
  }

  #load(): void {
    this.#loading = true
    const { read, snapshot } = recordReads(this.#options.read, this.#options.stamp)
    const result = this.#options.load(read)
    this.#schedule(HOLD_MS, () => this.#verify(result, snapshot))
  }

  /** The same bytes give the same result, so the second read compares and does not load. */
  #verify(result: T, snapshot: Snapshot): void {
    if (!isUntouched(snapshot, this.#readAgain(snapshot))) {
      this.#load()
      return
    }
    const changed = this.#requested || !hasSameContents(this.#known, snapshot)
    this.#known = snapshot
    this.#requested = false
    this.#loading = false
    this.#watchFolders()
    this.#idle()
    if (changed) this.#options.onSettled(result)
  }

  #readAgain(paths: Snapshot): Snapshot {
    const { read, snapshot } = recordReads(this.#options.read, this.#options.stamp)
    for (const path of paths.keys()) {
      try {
        read(path)
      } catch {
        // A file that cannot be read is a state of it, and is in the snapshot.
      }
    }
    return snapshot
  }

  #watchFolders(): void {
    for (const stop of this.#stopWatching) stop()
    const folders = new Set([...this.#known.keys()].map(path => dirname(resolve(path))))
    this.#stopWatching = [...folders].map(folder => this.#options.watchFolder(folder, () => this.#onEvent()))
  }
}

function hasSameContents(one: Snapshot, other: Snapshot): boolean {
  return one.size === other.size && [...one].every(([path, { digest }]) => other.get(path)?.digest === digest)
}

/** The same contents, and no write between the two reads: a file that is rewritten may be cut at the same place twice. */
function isUntouched(one: Snapshot, other: Snapshot): boolean {
  return hasSameContents(one, other) && [...one].every(([path, { stamp }]) => other.get(path)?.stamp === stamp)
}

/** The stamp of a file on disk, of the target where the path is a symbolic link. */
export function fileStamp(path: string): string {
  try {
    const stat = statSync(path, { bigint: true })
    if (!stat.isFile() && !stat.isDirectory()) return NOT_A_FILE
    return [stat.dev, stat.ino, stat.size, stat.mtimeNs, stat.ctimeNs].join(' ')
  } catch (thrown) {
    return `none: ${errorCode(thrown)}`
  }
}

/** Watches a folder as well as its file system can. */
export function watchFolder(folder: string, onEvent: () => void): () => void {
  try {
    const watcher = watch(folder, { persistent: false }, onEvent)
    watcher.on('error', () => watcher.close())
    return () => watcher.close()
  } catch {
    return () => {}
  }
}
