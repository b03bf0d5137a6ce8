/**
 * The mark at the end of a YAML file: a line of three dots. A file that was cut at the end of a line is valid YAML without
 * its last entries. The mark shows that it is complete.
 */

/** Whether the last line that is neither blank nor a comment is the mark. */
export function hasEndMark(text: string): boolean {
  const lines = text.split(/\r?\n|\r/).filter(line => !/^\s*(#.*)?$/.test(line))
  return /^\.\.\.(\s+#.*|\s*)$/.test(lines.at(-1) ?? '')
}
