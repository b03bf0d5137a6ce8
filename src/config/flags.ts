/** The command line: flags of settings, read from their rows, beside the few flags of one command. */
import { parseArgs } from 'node:util'
import { Fault } from '../errors.js'
import { didYouMean } from './nearest.js'
import { allSettings } from './settings.js'

/** Flags of a command itself, such as `config` or `json`, without the dashes. */
export type OwnFlags = Readonly<Record<string, 'text' | 'toggle'>>

export type CommandLine<Own extends OwnFlags> = {
  /** What was given for settings, by path, as text. */
  settings: Record<string, string>
  own: { [F in keyof Own]?: Own[F] extends 'toggle' ? true : string }
  words: string[]
}

const flagged = new Map(
  allSettings.filter(({ definition }) => !definition.fileOnly).map(setting => [setting.flag.slice(2), setting]),
)

/**
 * Reads the arguments behind the program's name. A toggle takes `--x`, `--x=true` and `--x=false`; other flags take
 * `--x value` and `--x=value`. Throws `usage` with every problem, one a line.
 */
export function readFlags<const Own extends OwnFlags>(argv: readonly string[], own: Own): CommandLine<Own> {
  const toggles = new Set<string>()
  for (const [name, { definition }] of flagged) if (definition.toggle) toggles.add(name)
  for (const [name, form] of Object.entries(own)) if (form === 'toggle') toggles.add(name)
  const known = [...new Set([...flagged.keys(), ...Object.keys(own)])]
  const options = Object.fromEntries(
    known.map(name => [name, { type: toggles.has(name) ? ('boolean' as const) : ('string' as const) }]),
  )
  const { tokens } = parseArgs({ args: [...argv], options, strict: false, tokens: true })

  const line = {
    settings: {} as Record<string, string>,
    own: {} as Record<string, string | true>,
    words: [] as string[],
  }
  const seen = new Set<string>()
  const problems: string[] = []
  for (const token of tokens) {
    if (token.kind === 'positional') line.words.push(token.value)
    if (token.kind !== 'option') continue
    const { name, rawName, value, inlineValue } = token
    const setting = flagged.get(name)
    const dashed = known.map(flag => `--${flag}`)
    if (!known.includes(name)) problems.push(`there is no flag ${rawName}${didYouMean(rawName, dashed)}`)
    else if (seen.has(name)) problems.push(`${rawName} stands twice`)
    else if (!toggles.has(name) && (value === undefined || (!inlineValue && value.startsWith('-')))) {
      problems.push(`${rawName} wants a value`)
    } else if (Object.hasOwn(own, name)) {
      if (toggles.has(name) && value !== undefined) problems.push(`${rawName} takes no value`)
      line.own[name] = value ?? true
    } else if (setting) line.settings[setting.path] = value ?? 'true'
    seen.add(name)
  }
  if (problems.length > 0) throw new Fault('usage', problems.join('\n'), { problems })
  return line as CommandLine<Own>
}
