/** Texts cut out of others: V8 keeps the whole of what a part was cut from, here a header with its signature for hours. */

/** The same text, of ASCII, holding on to nothing. */
export function detach(text: string): string {
  return Buffer.from(text, 'latin1').toString('latin1')
}
