/** V8 keeps the whole parent of a substring in memory; here that would be a header with its signature, for hours. */

/** A copy of an ASCII string that keeps no other string in memory. */
export function detach(text: string): string {
  return Buffer.from(text, 'latin1').toString('latin1')
}
