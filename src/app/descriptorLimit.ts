/**
 * The number of file descriptors that this process may open.
 *
 * Node.js raises its soft limit to the hard one when it starts, so the limit of its shell does not apply. Only Linux shows a
 * process its own limit.
 */
import { readFileSync } from 'node:fs'

const PATH = '/proc/self/limits'

/** Undefined if there is no limit, or if the system does not report it. */
export function readDescriptorLimit(): number | undefined {
  try {
    return parseDescriptorLimit(readFileSync(PATH, 'utf8'))
  } catch {
    return undefined
  }
}

/** The soft limit in the text of `/proc/self/limits`; undefined if it has none. */
export function parseDescriptorLimit(text: string): number | undefined {
  const soft = /^Max open files +(\d+) /m.exec(text)?.[1]
  return soft === undefined ? undefined : Number(soft)
}
