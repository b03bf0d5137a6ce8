/** Reads the files that settings name. This is the only part of the configuration that touches the disk. */
import { closeSync, fstatSync, openSync, readFileSync } from 'node:fs'
import { errorCode } from '../errors.js'

/** The bytes of a file and its permission bits. Throws the errors of `node:fs`. */
export type ReadFile = (path: string) => { bytes: Buffer; mode: number }

export const readFile: ReadFile = path => {
  const descriptor = openSync(path, 'r')
  try {
    return { bytes: readFileSync(descriptor), mode: fstatSync(descriptor).mode }
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

/** The text of a file and whether every user may read it, or the reason why there is no text. */
export function readText(read: ReadFile, path: string): { text: string; isWorldReadable: boolean } | { why: string } {
  try {
    const { bytes, mode } = read(path)
    return { text: utf8.decode(bytes), isWorldReadable: (mode & 0o004) !== 0 }
  } catch (thrown) {
    const code = errorCode(thrown) ?? 'unknown'
    return { why: REASONS[code] ?? `error ${code}` }
  }
}
