/** Files that settings name: read once at start, as text. The only part of the configuration that touches a disk. */
import { closeSync, fstatSync, openSync, readFileSync } from 'node:fs'
import { errorCode } from '../errors.js'

/** The bytes of a file and its permission bits. Throws what `node:fs` throws. */
export type ReadFile = (path: string) => { bytes: Buffer; mode: number }

export const readFile: ReadFile = path => {
  const descriptor = openSync(path, 'r')
  try {
    return { bytes: readFileSync(descriptor), mode: fstatSync(descriptor).mode }
  } finally {
    closeSync(descriptor)
  }
}

const WHY: Readonly<Record<string, string>> = {
  ENOENT: 'there is no such file',
  EACCES: 'its permissions forbid to read it',
  EISDIR: 'it is a folder',
  ENOTDIR: 'a part of its path is not a folder',
}

const utf8 = new TextDecoder('utf-8', { fatal: true })

/** The text of a file, or the sentence that says why there is none. `open` is true where everybody may read it. */
export function readText(read: ReadFile, path: string): { text: string; open: boolean } | { why: string } {
  try {
    const { bytes, mode } = read(path)
    return { text: utf8.decode(bytes), open: (mode & 0o004) !== 0 }
  } catch (thrown) {
    const code = errorCode(thrown) ?? 'unknown'
    return {
      why: code === 'ERR_ENCODING_INVALID_ENCODED_DATA' ? 'it is not UTF-8 text' : (WHY[code] ?? `it gives ${code}`),
    }
  }
}
