/**
 * Where the audit trail goes: stdout, stderr or a file.
 *
 * Writes go through the thread pool of Node.js. `process.stdout.write` and synchronous writes were rejected: they would
 * block every session while a disk or the reader of a pipe is slow.
 */
import { closeSync, constants, fstatSync, openSync, readSync, statSync, write, writeSync } from 'node:fs'
import { errorCode, Fault } from '../errors.js'
import { describePath } from '../redaction.js'

export type AuditDestination = {
  /** For `audit.opened`: stdout, stderr or the path. */
  readonly name: string
  /** Writes bytes. Calls `done` with the number of bytes that the operating system has taken, which may be fewer. */
  write(bytes: Buffer, done: (error: Error | null, taken: number) => void): void
  /** Opens a file again, after an error. Returns whether another file is open now. */
  recover(): boolean
  /** Opens a file again that was renamed. Throws, and keeps the open one, if that fails. */
  reopen(): void
  close(): void
}

const MODE = 0o600
/** The reader of a pipe in non-blocking mode is slow: try again after this time. Milliseconds. */
const PIPE_RETRY_MS = 10
const NEWLINE = '\n'.charCodeAt(0)

/** Throws `config/invalid` if the file cannot be opened. */
export function openAuditDestination(to: string): AuditDestination {
  if (to === 'stdout') return createStreamDestination('stdout', 1)
  if (to === 'stderr') return createStreamDestination('stderr', 2)
  return new AuditFile(to)
}

function createStreamDestination(name: string, fd: number): AuditDestination {
  return {
    name,
    write: (bytes, done) => writeBytes(fd, bytes, done),
    recover: () => false,
    reopen() {},
    close() {},
  }
}

function writeBytes(fd: number, bytes: Buffer, done: (error: Error | null, taken: number) => void): void {
  write(fd, bytes, (error, taken) => {
    if (errorCode(error) === 'EAGAIN') setTimeout(() => writeBytes(fd, bytes, done), PIPE_RETRY_MS)
    else done(error, taken ?? 0)
  })
}

class AuditFile implements AuditDestination {
  readonly name: string
  #fd: number
  #isWriting = false

  constructor(path: string) {
    this.name = path
    try {
      this.#fd = openFile(path)
    } catch (thrown) {
      const problem = `audit.to: cannot open ${describePath(path)}: ${describeOpenError(thrown)}`
      throw new Fault('config/invalid', problem, { problems: [problem] })
    }
  }

  write(bytes: Buffer, done: (error: Error | null, taken: number) => void): void {
    const fd = this.#fd
    this.#isWriting = true
    writeBytes(fd, bytes, (error, taken) => {
      this.#isWriting = false
      if (fd !== this.#fd) closeSync(fd) // it was opened again meanwhile
      done(error, taken)
    })
  }

  recover(): boolean {
    try {
      return this.#open()
    } catch {
      return false // the next write fails too, and is tried again
    }
  }

  reopen(): void {
    try {
      this.#open()
    } catch (thrown) {
      throw new Fault('audit/unavailable', undefined, { why: describeOpenError(thrown) })
    }
  }

  close(): void {
    if (!this.#isWriting) closeSync(this.#fd)
  }

  /** Returns whether the path names another file than before. */
  #open(): boolean {
    const [before, opened] = [this.#fd, openFile(this.name)]
    this.#fd = opened
    const [old, current] = [fstatSync(before), fstatSync(opened)]
    if (!this.#isWriting) closeSync(before)
    return old.ino !== current.ino || old.dev !== current.dev
  }
}

/** Opens for appending. A line that a killed process has left incomplete is ended, so that the next one stays readable. */
function openFile(path: string): number {
  const stats = statSync(path, { throwIfNoEntry: false })
  if (stats && !stats.isFile() && !stats.isCharacterDevice()) throw new Error('not a regular file')
  const { O_APPEND, O_CREAT, O_RDWR } = constants
  const fd = openSync(path, O_APPEND | O_CREAT | O_RDWR, MODE)
  const { size } = fstatSync(fd)
  const last = Buffer.alloc(1)
  if (size > 0 && readSync(fd, last, 0, 1, size - 1) === 1 && last[0] !== NEWLINE) writeSync(fd, '\n')
  return fd
}

function describeOpenError(thrown: unknown): string {
  return errorCode(thrown) ?? (thrown as Error).message
}
