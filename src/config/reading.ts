/** Reads the files that settings name. This is the only part of the configuration that touches the disk. */
import { closeSync, fstatSync, openSync, readFileSync } from 'node:fs'
import { errorCode } from '../errors.js'

/** The bytes of a file, its permission bits, and when it was last modified. Throws the errors of `node:fs`. */
export type ReadFile = (path: string) => { bytes: Buffer; mode: number; modified?: Date }

export const readFile: ReadFile = path => {
  const descriptor = openSync(path, 'r')
  try {
    const bytes = readFileSync(descriptor)
    const { mode, mtime: modified } = fstatSync(descriptor)
    return { bytes, mode, modified }
  } finally {
    closeSync(descriptor)
  }
}

const REASONS: Readonly<Record<string, string>> = {
  ENOENT: 'there is no such file',
  EACCES: 'permission denied',
  EISDIR: 'it is a directory',
  ENOTDIR: 'a part of its path is not a directory',
  ERR_ENCODING_INVALID_ENCODED_DATA: 'it is not UTF-8 text',
}

const utf8 = new TextDecoder('utf-8', { fatal: true })

/** `isWorldReadable`: every user of the machine may read the file. */
export type TextFile = { text: string; isWorldReadable: boolean; modified: Date | undefined }

/** The text of a file, or the reason why there is none. */
export function readText(read: ReadFile, path: string): TextFile | { why: string } {
  try {
    const { bytes, mode, modified } = read(path)
    return { text: utf8.decode(bytes), isWorldReadable: (mode & 0o004) !== 0, modified }
  } catch (thrown) {
    const code = errorCode(thrown) ?? 'unknown'
    return { why: REASONS[code] ?? `error ${code}` }
  }
}
