/**
 * From flags, variables, a file and defaults to one checked value, or to every problem at once.
 *
 *     flag ?? variable ?? file ?? default ─▶ schema of the row ─▶ settings ─▶ files that they name ─▶ Config
 *
 * Nothing here remembers or prints; what was read from a file or may hold a password leaves as a `Secret`.
 */
import { Fault } from '../errors.js'
import { type Contents, readContents } from './file.js'
import { didYouMean } from './nearest.js'
import { type Problem, pathInside, readIssues, toLine } from './problem.js'
import { type ReadFile, readText } from './reading.js'
import { type Config, type Origin, resolve } from './resolve.js'
import { allSettings, isOurVariable, type Setting, type Settings } from './settings.js'

export type { Config }

/** Which rule of the file it is, from 1, and where that is written. */
export type RuleOrigin = { rule: number; from: string }

export type ConfigSources = {
  /** Path of the YAML file, if there is one. */
  file?: string | undefined
  /** What flags gave, by path of the setting, as `readFlags` returns it. */
  args: Readonly<Record<string, string>>
  env: Readonly<Record<string, string | undefined>>
  readFile: ReadFile
  /** The deny file that is in force, which goes on to be read where the file above could not be taken apart. */
  denyFile?: string | undefined
  /**
   * What only the rest of the program can find wrong, a line each; asked even of what has other problems. Of users it is
   * given those whose form is right, and by `places` which they are.
   */
  further?: (config: Config, places: readonly RuleOrigin[]) => readonly string[]
}

/**
 * The configuration. Throws `config/invalid`, whose `facts.problems` are lines like
 * `sts.timeout: wanted a time like 500ms, 5s or 2m, got "5 seconds" (from MONGO_IAM_PROXY_STS_TIMEOUT)`
 * and whose `detail` is the same lines in one text. `facts.deny` is what there is of that group.
 */
export function loadConfig(sources: ConfigSources): Config {
  const contents = readFileOf(sources)
  const problems = [...contents.problems]
  const origins = new Map<string, Origin>()
  const settings: Record<string, unknown> = {}

  for (const setting of allSettings) {
    const given = find(setting, sources, contents)
    const judged = judge(setting, given)
    if (given) origins.set(setting.path, { ...given, ...(judged.kept && { kept: judged.kept }) })
    problems.push(...judged.problems)
    place(settings, setting.keys, judged.value)
  }

  // A file that could not be taken apart says nothing about what is missing from it.
  const readable = contents.problems.every(({ path }) => path !== '')
  const { deny } = settings as Settings
  if (!readable) settings.deny = { ...deny, file: deny.file ?? sources.denyFile }
  const { config, problems: more } = resolve({ ...sources, settings: settings as Settings, origins })
  if (readable) problems.push(...more)
  // Users that could not be read may name variables of any name.
  const listed = origins.get('users')
  const { users } = settings as Settings
  if (readable && (listed === undefined || (users && !listed.kept))) {
    problems.push(...strayVariables(sources.env, users))
  }
  if (sources.env.NODE_TLS_REJECT_UNAUTHORIZED === '0') {
    const message = 'turns off the verification of every certificate, that of STS too: unset it'
    problems.push({ path: 'NODE_TLS_REJECT_UNAUTHORIZED', message })
  }
  const places = (users ?? []).map((_, index) => {
    const at = listed?.kept?.[index] ?? index
    return { rule: at + 1, from: listed?.inside([at]) ?? '' }
  })
  const lines = [...problems.map(toLine), ...(readable ? (sources.further?.(config, places) ?? []) : [])]
  if (lines.length > 0) {
    throw new Fault('config/invalid', lines.join('\n'), { problems: lines, deny: config.deny })
  }
  return config
}

function readFileOf({ file, readFile }: ConfigSources): Contents {
  if (file === undefined) return { values: new Map(), problems: [] }
  const read = readText(readFile, file)
  if ('text' in read) return readContents(read.text, file)
  return {
    values: new Map(),
    problems: [{ path: '', message: `cannot read the configuration: ${read.why}`, from: file }],
  }
}

type Given = Origin & { value: unknown; text: boolean }

function find(
  { path, flag, variable }: Setting,
  { args, env }: ConfigSources,
  { values }: Contents,
): Given | undefined {
  const arg = Object.hasOwn(args, path) ? args[path] : undefined
  if (arg !== undefined) return { value: arg, from: flag, inside: () => flag, text: true }
  const set = env[variable]
  if (set !== undefined && !isServiceLink(variable, set)) {
    return { value: set, from: variable, inside: () => variable, text: true }
  }
  const written = values.get(path)
  return written && { ...written, text: false }
}

type Judged = { value?: unknown; problems: Problem[]; kept?: readonly number[] }

/** Of a list that only the file can hold, a bad entry hides no other: `kept` says which are left. */
function judge({ path, definition }: Setting, given: Given | undefined): Judged {
  const refuse = (message: string) => ({ problems: [{ path, message, from: given?.from }] })
  if (given?.text && definition.fileOnly) return refuse('is a list that only the file can hold')
  if (given?.text && given.value === '') return refuse('is empty: give it a value, or leave it out')
  const value = given ? given.value : definition.fallback
  if (value === undefined) return { problems: [] }
  const read = definition.schema.safeParse(value, { reportInput: true })
  if (read.success) return { value: read.data, problems: [] }
  const good = definition.fileOnly && Array.isArray(value) ? entriesOf(definition.schema, value) : undefined
  return {
    ...(good && { value: good.map(({ entry }) => entry), kept: good.map(({ at }) => at) }),
    problems: readIssues(read.error, value, definition.secret === true).map(({ inside, message }) => ({
      path: pathInside(path, inside),
      message,
      from: given?.inside(inside),
    })),
  }
}

/** The entries whose form is right, and their places in the list. */
function entriesOf(
  schema: Setting['definition']['schema'],
  list: readonly unknown[],
): { at: number; entry: unknown }[] {
  return list.flatMap((written, at) => {
    const { success, data } = schema.safeParse([written])
    return success ? (data as unknown[]).map(entry => ({ at, entry })) : []
  })
}

/** Every key is there in the end, those without a value as undefined. */
function place(settings: Record<string, unknown>, keys: readonly string[], value: unknown): void {
  const [key = '', ...rest] = keys
  if (rest.length === 0) settings[key] = value
  else {
    settings[key] ??= {}
    place(settings[key] as Record<string, unknown>, rest, value)
  }
}

/** Kubernetes sets such variables for every Service; one named mongo-iam-proxy must not keep us from starting. */
function isServiceLink(name: string, value: string): boolean {
  if (/_SERVICE_(HOST|PORT(_[A-Z0-9_]+)?)$|_PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?$/.test(name)) return true
  return name.endsWith('_PORT') && /^(tcp|udp|sctp):\/\//.test(value)
}

/** Variables with our prefix that are no setting, and that no user names for a password. */
function strayVariables(env: ConfigSources['env'], users: Settings['users']): Problem[] {
  const known = allSettings.map(({ variable }) => variable)
  const fine = new Set([...known, ...(users ?? []).map(({ passwordEnv }) => passwordEnv)])
  return Object.entries(env)
    .filter(([name, value = '']) => isOurVariable(name) && !fine.has(name) && !isServiceLink(name, value))
    .map(([name]) => ({ path: name, message: `there is no such setting${didYouMean(name, known)}` }))
}
