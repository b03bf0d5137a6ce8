/** Parses the command line: the flags of settings, which derive from their definitions, and the flags of one command. */
import { parseArgs } from 'node:util'
import { Fault } from '../errors.js'
import { describeText } from '../redaction.js'
import { didYouMean } from './nearest.js'
import { allSettings } from './settings.js'

/** The flags of a command, such as `config` or `json`, without the dashes. */
export type CommandFlags = Readonly<Record<string, 'text' | 'toggle'>>

export type CommandLine<Own extends CommandFlags> = {
  /** The settings that were given, by path, as text. */
  settings: Record<string, string>
  own: { [F in keyof Own]?: Own[F] extends 'toggle' ? true : string }
  positionals: string[]
}

const settingsByFlag = new Map(
  allSettings.filter(({ definition }) => !definition.fileOnly).map(setting => [setting.flag.slice(2), setting]),
)

/**
 * Parses the arguments after the name of the command. A toggle of a setting is `--x`, `--x=true` or `--x=false`; other
 * flags are `--x value` or `--x=value`. Throws `usage` with every problem, one per line.
 */
export function parseFlags<const Own extends CommandFlags>(argv: readonly string[], own: Own): CommandLine<Own> {
  const toggles = toggleNames(own)
  const known = [...new Set([...settingsByFlag.keys(), ...Object.keys(own)])]
  const options = Object.fromEntries(
    known.map(name => [name, { type: toggles.has(name) ? ('boolean' as const) : ('string' as const) }]),
  )
  const { tokens } = parseArgs({ args: [...argv], options, strict: false, tokens: true })

  const line = {
    settings: {} as Record<string, string>,
    own: {} as Record<string, string | true>,
    positionals: [] as string[],
  }
  const given = new Set<string>()
  const problems = new Set<string>()
  for (const token of tokens) {
    if (token.kind === 'positional') line.positionals.push(token.value)
    if (token.kind !== 'option') continue
    const { name, value, inlineValue } = token
    const flag = `--${name}`
    const setting = settingsByFlag.get(name)
    // Each letter of `-hunter2` is a token of its own, so the message is the same for all of them.
    if (!known.includes(name)) problems.add(describeUnknownFlag(argv[token.index] ?? '', known))
    else if (given.has(name)) problems.add(`${flag} is given twice`)
    else if (!toggles.has(name) && (value === undefined || (!inlineValue && value.startsWith('-')))) {
      problems.add(`${flag} needs a value`)
    } else if (Object.hasOwn(own, name)) {
      if (toggles.has(name) && value !== undefined) problems.add(`${flag} takes no value`)
      line.own[name] = value ?? true
    } else if (setting) line.settings[setting.path] = value ?? 'true'
    given.add(name)
  }
  if (problems.size > 0) throw new Fault('usage', [...problems].join('\n'), { problems: [...problems] })
  return line as CommandLine<Own>
}

/** The text is not repeated: it may be a value whose flag is missing. */
function describeUnknownFlag(argument: string, known: readonly string[]): string {
  const [name = ''] = argument.split(/[=:]/, 1)
  const hint = known.includes(name.replace(/^--/, ''))
    ? `; a blank or = is missing after ${name}`
    : didYouMean(
        name,
        known.map(flag => `--${flag}`),
      )
  return `there is no such flag, ${describeText(argument)}${hint}`
}

function toggleNames(own: CommandFlags): Set<string> {
  const names = new Set<string>()
  for (const [name, { definition }] of settingsByFlag) if (definition.toggle) names.add(name)
  for (const [name, form] of Object.entries(own)) if (form === 'toggle') names.add(name)
  return names
}
