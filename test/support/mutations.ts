/** Mutations of texts, the same ones for the same seed. */

/** Numbers from 0 to 1 (mulberry32). */
export type Random = () => number

export function createRandom(seed: number): Random {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296
  }
}

export const below = (random: Random, limit: number): number => Math.floor(random() * limit)
export const pick = <T>(random: Random, list: readonly T[]): T => list[below(random, list.length)] as T

/** Changes one line. */
type ChangeLine = (line: string, random: Random, secret: string) => string

const CHARACTERS = [...':\'"{}[]&*!|>%@#?,-\t\n\r \\~`$/.=<0x', '\0', '\u2028', 'ß', '\ufeff']

/** The text before the first colon and blank, and the text after it. */
const split = (line: string): [string, string] => {
  const at = line.indexOf(': ')
  return at < 0 ? [line, ''] : [line.slice(0, at), line.slice(at + 2)]
}

const LINE_CHANGES: readonly ChangeLine[] = [
  line => line.replace(': ', ':'),
  line => line.replace(': ', ' '),
  line => line.replace(': ', '='),
  line => line.replace(/^( *)(- )?/, '$1'),
  line => line.replace(/['"]/, ''),
  line => ` ${line}`,
  line => line.slice(1),
  line => `\t${line}`,
  line => `${line}\n${line}`,
  line => line.trimEnd().slice(0, -1),
  () => '',
  line => {
    const [key, value] = split(line)
    return `${key.match(/^[ -]*/)?.[0]}${value}: ${key.trim()}`
  },
  line => {
    const [key, value] = split(line)
    return `${key}: [${value}]`
  },
  line => {
    const [key, value] = split(line)
    return `${key}: { ${value} }`
  },
  line => {
    const [key, value] = split(line)
    return `${key}: ${value}, ${value}`
  },
  (line, _, secret) => `${split(line)[0]}: ${secret}`,
  (line, _, secret) => `${split(line)[0]}:${secret}`,
  (line, _, secret) => `${split(line)[0]}: { ${secret} }`,
  (line, _, secret) => `${split(line)[0]}: { ${secret}: ${split(line)[1]} }`,
  (line, _, secret) => `${split(line)[0]}: [${secret}, ${split(line)[1]}]`,
  (line, _, secret) => `${line.match(/^[ -]*/)?.[0]}${secret}: ${split(line)[1]}`,
  (line, _, secret) => `${line.match(/^[ -]*/)?.[0]}${secret}`,
  (line, _, secret) => `${line}\n${line.match(/^ */)?.[0]}${split(line)[0].trim()}:${secret}`,
  (line, random, secret) =>
    `${split(line)[0]}: ${pick(random, ['&', '*', '!', '!!', '@', '%', '|', '>', '"', "'"])}${secret}`,
  (line, random, secret) => {
    const at = below(random, line.length + 1)
    return `${line.slice(0, at)}${secret}${line.slice(at)}`
  },
]

/** Changes the text at a few places. */
export function mutate(text: string, random: Random, secret: string): string {
  let mutated = text
  for (let count = 1 + below(random, 3); count > 0; count--) {
    const lines = mutated.split('\n')
    const at = below(random, lines.length)
    const kind = random()
    if (kind < 0.6) {
      lines[at] = pick(random, LINE_CHANGES)(lines[at] ?? '', random, secret)
      mutated = lines.join('\n')
    } else if (kind < 0.65) mutated = lines.slice(0, at).join('\n')
    else if (kind < 0.7) {
      const other = below(random, lines.length)
      ;[lines[at], lines[other]] = [lines[other] ?? '', lines[at] ?? '']
      mutated = lines.join('\n')
    } else if (kind < 0.75) mutated = mutated.slice(0, below(random, mutated.length))
    else mutated = changeCharacter(mutated, random)
  }
  return mutated
}

function changeCharacter(text: string, random: Random): string {
  const at = below(random, text.length)
  const rest = text.slice(at)
  const kind = random()
  if (kind < 0.3) return text.slice(0, at) + rest.slice(1 + below(random, 3))
  if (kind < 0.8) return text.slice(0, at) + pick(random, CHARACTERS) + rest
  return `${text.slice(0, at)}${rest[1] ?? ''}${rest[0] ?? ''}${rest.slice(2)}`
}
