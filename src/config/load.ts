/**
 * Loads the configuration from flags, variables, a file and defaults, or reports every problem at once.
 *
 *     flag ?? variable ?? file ?? default ─▶ schema ─▶ Settings ─▶ files and variables that they name ─▶ Config
 *
 * Nothing is cached or printed here. The contents of secret files and connection strings leave as a `Secret`.
 */
import { createHash } from 'node:crypto'
import { Fault } from '../errors.js'
import { countCharacters, describePath } from '../redaction.js'
import { type FileContents, parseFile } from './file.js'
import { didYouMean } from './nearest.js'
import { describeIssues, formatProblem, joinPath, type Problem } from './problem.js'
import { type ReadFile, readText } from './reading.js'
import { type Config, type Origin, resolve } from './resolve.js'
import { allSettings, isOurVariable, type Setting, type Settings, VARIABLE_PREFIX } from './settings.js'
import { describeValue } from './shownValue.js'

export type { Config }

/** The number of a rule in the file, from 1, and where it is written. `inside` locates a part of it. */
export type RuleOrigin = { rule: number; from: string; inside(path: readonly PropertyKey[]): string }

export type ConfigSources = {
  /** Path of the YAML file, if there is one. */
  file?: string | undefined
  /** The values of flags, by path of the setting, as `parseFlags` returns them. */
  args: Readonly<Record<string, string>>
  env: Readonly<Record<string, string | undefined>>
  readFile: ReadFile
  /**
   * Reads neither secret files nor variables with passwords, which may be absent; placeholders take their place. Use the result
   * for checks only.
   */
  skipSecrets?: boolean | undefined
  /** Refuses a file without the end mark. */
  requireEndMark?: boolean | undefined
  /**
   * The running configuration. Its deny file is still read if the file above is not complete. If it had the end mark, a file
   * without the mark may have been cut, and is refused.
   */
  running?: { denyFile: string | undefined; hasEndMark: boolean } | undefined
}

/**
 * Finds the problems that only the rest of the program can find, one line each. It is called even if there are other
 * problems, with the rules whose form is valid; `origins` says which rules these are.
 */
export type Compile<T> = (
  config: Config,
  origins: readonly RuleOrigin[],
) => { compiled: T; problems: readonly string[] }

/** The same as `loadAndCompile`, without a compiler. */
export function loadConfig(sources: ConfigSources): Config {
  return loadAndCompile(sources, () => ({ compiled: undefined, problems: [] })).config
}

/** A setting that was given. `text`: its value, as far as it may be shown. */
export type GivenSetting = { text: string; isInFile: boolean }

/**
 * The configuration file, and the settings that it or the command line gives, by path. `hash`: the SHA-256 of its contents,
 * in hexadecimal; of nothing if there is no file.
 */
export type ConfigSource = {
  file: string | undefined
  hash: string
  modified: Date | undefined
  given: ReadonlyMap<string, GivenSetting>
}

export const NO_SOURCE: ConfigSource = { file: undefined, hash: hashText(''), modified: undefined, given: new Map() }

/** `hasEndMark`: the file ends in a line of three dots. */
export type CompiledConfig<T> = { config: Config; compiled: T; hasEndMark: boolean; source: ConfigSource }

/**
 * The configuration and what `compile` made of it. Throws `config/invalid`, whose `problems` are lines like
 * `sts.quota: expected a whole number from 1 to 1000000, got a text of 4 characters (from MONGO_IAM_PROXY_STS_QUOTA)`.
 * Its `detail` is the same lines in one text, and `deny` is the group `deny` as far as it could be read.
 */
export function loadAndCompile<T>(sources: ConfigSources, compile: Compile<T>): CompiledConfig<T> {
  const contents = readConfigFile(sources)
  const problems = [...contents.problems]
  const { settings, origins, given, problems: valueProblems } = readSettings(sources, contents)
  const source = { ...contents.source, given }
  problems.push(...valueProblems)

  // A file that could not be parsed does not show which settings are missing.
  const { isParsed } = contents
  const { deny } = settings
  const denyFile = isParsed && !contents.isCut ? deny.file : (deny.file ?? sources.running?.denyFile)
  const { config, problems: resolveProblems } = resolve({
    ...sources,
    settings: { ...settings, deny: { ...deny, file: denyFile } },
    origins,
  })
  if (isParsed) problems.push(...resolveProblems)
  const list = origins.get('users')
  // Rules that could not be read may name variables of any name.
  if (isParsed && (list === undefined || (settings.users && !list.validIndexes))) {
    problems.push(...unknownVariables(sources.env, settings.users))
  }
  if (sources.env.NODE_TLS_REJECT_UNAUTHORIZED === '0') {
    const message = 'disables the verification of every certificate, including that of STS: unset it'
    problems.push({ path: 'NODE_TLS_REJECT_UNAUTHORIZED', message })
  }
  const { compiled, problems: compileProblems } = compile(config, ruleOrigins(settings.users, list))
  const sourcedProblems = compileProblems.map(problem => withSource(problem, origins))
  const lines = [...problems.map(formatProblem), ...(isParsed ? sourcedProblems : [])]
  if (lines.length > 0) {
    throw new Fault('config/invalid', lines.join('\n'), { problems: lines, deny: config.deny, source })
  }
  return { config, compiled, hasEndMark: contents.hasEndMark, source }
}

/** Appends the source of the setting that a line begins with, unless the line has a source or the setting has none. */
function withSource(line: string, origins: ReadonlyMap<string, Origin>): string {
  const [, path = '', index] = /^([\w.]+)(?:\[(\d+)\])?: /.exec(line) ?? []
  const origin = origins.get(path) ?? origins.get(`${path}File`)
  if (origin === undefined || / \(from [^()]+\)$/.test(line)) return line
  return `${line} (from ${index === undefined ? origin.from : origin.inside([Number(index)])})`
}

/** `isCut`: the end mark is missing and required, so the file may lack its last settings. */
function readConfigFile(sources: ConfigSources): FileContents & { isCut: boolean; source: ConfigSource } {
  const { file, readFile } = sources
  const none = { values: new Map<string, never>(), hasEndMark: false, isCut: false, source: NO_SOURCE }
  if (file === undefined) return { ...none, problems: [], isParsed: true }
  const read = readText(readFile, file)
  if ('why' in read) {
    const from = `--config, ${describePath(file)}`
    const message = `cannot read the configuration: ${read.why}`
    return { ...none, problems: [{ path: '', message, from }], isParsed: false }
  }
  const name = getShownName(file)
  const source = { ...NO_SOURCE, file, hash: hashText(read.text), modified: read.modified }
  const contents = parseFile(read.text, name)
  const message = contents.hasEndMark ? undefined : findCut(sources)
  const cut = message === undefined ? [] : [{ path: '', message, from: name }]
  return { ...contents, problems: [...contents.problems, ...cut], isCut: cut.length > 0, source }
}

/** The SHA-256 of a text, in hexadecimal. */
export function hashText(text: string): string {
  return createHash('sha256').update(text).digest('hex')
}

/** The problem of a file without the end mark; undefined if the mark is not required. */
function findCut({ requireEndMark, running }: ConfigSources): string | undefined {
  if (running?.hasEndMark) return CUT_SINCE
  return requireEndMark ? CUT : undefined
}

const CUT =
  'the file may have been cut: it does not end in a line of three dots (...), which --require-end-mark requires'
const CUT_SINCE =
  'the file may have been cut: it does not end in a line of three dots (...), and the running configuration does; add that line, or restart the proxy to do without it'

/** The name of the configuration file in messages. A relative name is shown as well: a file of that name exists. */
function getShownName(file: string): string {
  return /^[^:@\s\p{C}]+$/u.test(file) ? file : 'the configuration'
}

function readSettings(sources: ConfigSources, contents: FileContents) {
  const origins = new Map<string, Origin>()
  const settings: Record<string, unknown> = {}
  const problems: Problem[] = []
  const givenSettings = new Map<string, GivenSetting>()
  for (const setting of allSettings) {
    const given = findValue(setting, sources, contents)
    const result = validateSetting(setting, given)
    const { validIndexes } = result
    if (given) {
      origins.set(setting.path, { ...given, ...(validIndexes && { validIndexes }) })
      const text = result.problems.length > 0 ? '' : describeValue(setting.definition, given.value)
      givenSettings.set(setting.path, { text, isInFile: !given.isText })
    }
    problems.push(...result.problems)
    setIn(settings, setting.keys, result.value)
  }
  return { settings: settings as Settings, origins, given: givenSettings, problems }
}

/** A value that was given; `isText` tells a flag or variable from the file. */
type GivenValue = Origin & { value: unknown; isText: boolean }

function findValue(
  { path, flag, variable }: Setting,
  { args, env }: ConfigSources,
  { values }: FileContents,
): GivenValue | undefined {
  const arg = Object.hasOwn(args, path) ? args[path] : undefined
  if (arg !== undefined) return { value: arg, from: flag, inside: () => flag, isText: true }
  const set = env[variable]
  if (set !== undefined && !isServiceLink(variable, set)) {
    return { value: set, from: variable, inside: () => variable, isText: true }
  }
  const written = values.get(path)
  return written && { ...written, isText: false }
}

type ValidationResult = { value?: unknown; problems: Problem[]; validIndexes?: readonly number[] }

/** An invalid entry of a list does not hide the others: `validIndexes` says which entries are left. */
function validateSetting({ path, definition }: Setting, given: GivenValue | undefined): ValidationResult {
  const refuse = (message: string) => ({ problems: [{ path, message, from: given?.from }] })
  if (given?.isText && definition.fileOnly) return refuse('is a list, which must be in the file')
  if (given?.isText && given.value === '') return refuse('is empty: set a value, or remove it')
  const value = given ? given.value : definition.fallback
  if (value === undefined) return { problems: [] }
  const parsed = definition.schema.safeParse(value, { reportInput: true })
  if (parsed.success) return { value: parsed.data, problems: [] }
  const valid = definition.fileOnly && Array.isArray(value) ? validEntries(definition.schema, value) : undefined
  return {
    ...(valid && { value: valid.map(({ entry }) => entry), validIndexes: valid.map(({ index }) => index) }),
    problems: describeIssues(parsed.error, value, definition.secret === true).map(({ inside, at, message }) => ({
      path: joinPath(path, inside),
      message,
      from: given?.inside(at),
    })),
  }
}

function validEntries(schema: Setting['definition']['schema'], list: readonly unknown[]) {
  return list.flatMap((written, index): { index: number; entry: unknown }[] => {
    const { success, data } = schema.safeParse([written])
    return success ? (data as unknown[]).map(entry => ({ index, entry })) : []
  })
}

/** Sets a value at a path of keys. Every setting gets its key; one without a value is undefined. */
function setIn(settings: Record<string, unknown>, keys: readonly string[], value: unknown): void {
  const [key = '', ...rest] = keys
  if (rest.length === 0) settings[key] = value
  else {
    settings[key] ??= {}
    setIn(settings[key] as Record<string, unknown>, rest, value)
  }
}

function ruleOrigins(users: Settings['users'], list: Origin | undefined): RuleOrigin[] {
  return (users ?? []).map((_, position) => {
    const index = list?.validIndexes?.[position] ?? position
    const inside = (path: readonly PropertyKey[]) => list?.inside([index, ...path]) ?? ''
    return { rule: index + 1, from: inside([]), inside }
  })
}

/** Kubernetes sets such variables for every Service. A Service named mongo-iam-proxy must not prevent the start. */
function isServiceLink(name: string, value: string): boolean {
  if (/_SERVICE_(HOST|PORT(_[A-Z0-9_]+)?)$|_PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?$/.test(name)) return true
  return name.endsWith('_PORT') && /^(tcp|udp|sctp):\/\//.test(value)
}

/** Variables with our prefix that are neither a setting nor the password of a rule. */
function unknownVariables(env: ConfigSources['env'], users: Settings['users']): Problem[] {
  const variables = allSettings.map(({ variable }) => variable)
  const known = new Set([...variables, ...(users ?? []).map(({ passwordEnv }) => passwordEnv)])
  return Object.entries(env)
    .filter(([name, value = '']) => isOurVariable(name) && !known.has(name) && !isServiceLink(name, value))
    .map(([name]) => ({
      path: `${VARIABLE_PREFIX}…`,
      message: `there is no such setting, a variable of ${countCharacters(name)}${didYouMean(name, variables)}`,
    }))
}
