/** A blank that is missing after the colon of a key: YAML reads `port:27017` as one text. */

export const MISSING_BLANK = 'a blank is missing after the colon'

/** The known name that a text begins with, if a colon and no blank follows it. */
export function findMissingBlank(text: string, names: readonly string[]): string | undefined {
  const [, name = ''] = /^([A-Za-z]+):(?=\S)/.exec(text) ?? []
  return names.includes(name) ? name : undefined
}

/** Like `findMissingBlank`, for an entry of a list. Such an entry may be an ARN, which begins with a name and a colon too. */
export function findMissingBlankOfEntry(text: string, names: readonly string[]): string | undefined {
  return /^arn:(?!arn:)/.test(text) ? undefined : findMissingBlank(text, names)
}
