/**
 * The fail point `failCommand`: makes chosen commands fail, so that tests see how clients retry. Each server has its own.
 * https://github.com/mongodb/mongo/wiki/The-%22failCommand%22-fail-point
 */
import type { Document } from 'bson'
import { CommandError } from './commandError.js'
import { toNumber } from './order.js'

/** How often the fail point is active. `skip`: after that many matching commands; `times`: for that many. */
type Mode = { kind: 'off' | 'alwaysOn' } | { kind: 'times' | 'skip'; left: number }

/** What happens to a command, in the order of the fields. `blockTimeMS` in ms. */
export type Failure = {
  blockTimeMS?: number
  closeConnection?: true
  errorCode?: number
  writeConcernError?: Document
  errorLabels?: readonly string[]
}

type Settings = { failCommands: ReadonlySet<string>; appName?: string; failure: Failure }

/** mongod lets these commands through, so that a fail point can always be switched off. */
const NEVER_FAIL = new Set(['configureFailPoint'])

export class FailPoint {
  #mode: Mode = { kind: 'off' }
  #settings: Settings | undefined
  #entered = 0

  /** Replaces mode and data. Returns how many commands have failed so far. Throws BadValue, TypeMismatch. */
  configure({ mode, data }: Document): number {
    const parsed = parseMode(mode)
    const settings = parsed.kind === 'off' ? undefined : parseData(data ?? {})
    this.#mode = parsed
    this.#settings = settings
    return this.#entered
  }

  /** Decides whether a command fails, and counts it. `appName` is that of the client's metadata. */
  enter(command: string, appName: string | undefined): Failure | undefined {
    const settings = this.#settings
    if (!settings?.failCommands.has(command) || NEVER_FAIL.has(command)) return undefined
    if (settings.appName !== undefined && settings.appName !== appName) return undefined
    if (!this.#isActive()) return undefined
    this.#entered++
    return settings.failure
  }

  #isActive(): boolean {
    const mode = this.#mode
    if (!('left' in mode)) return mode.kind === 'alwaysOn'
    const left = mode.left > 0
    if (left) mode.left--
    return mode.kind === 'times' ? left : !left
  }
}

function parseMode(mode: unknown): Mode {
  if (mode === 'off' || mode === 'alwaysOn') return { kind: mode }
  const [[kind, value] = [], ...others] = Object.entries((mode ?? {}) as Document)
  const left = toNumber(value)
  if (others.length > 0 || (kind !== 'times' && kind !== 'skip') || !Number.isInteger(left) || left < 0) {
    throw new CommandError('BadValue', "mode must be 'off', 'alwaysOn', { times: <number> } or { skip: <number> }")
  }
  return { kind, left }
}

const types: Record<string, (value: unknown) => boolean> = {
  failCommands: isListOfStrings,
  appName: value => typeof value === 'string',
  errorCode: value => Number.isInteger(toNumber(value)),
  errorLabels: isListOfStrings,
  writeConcernError: value => typeof value === 'object' && value !== null && !Array.isArray(value),
  closeConnection: value => typeof value === 'boolean',
  blockConnection: value => typeof value === 'boolean',
  blockTimeMS: value => toNumber(value) >= 0,
  failInternalCommands: value => typeof value === 'boolean',
}

function isListOfStrings(value: unknown): boolean {
  return Array.isArray(value) && value.every(item => typeof item === 'string')
}

/** An unknown field is an error: mongod has further filters, and ignoring one would make other commands fail. */
function parseData(data: Document): Settings {
  for (const [field, value] of Object.entries(data)) {
    if (!Object.hasOwn(types, field)) throw new CommandError('BadValue', `failCommand has no field '${field}' here`)
    if (!types[field]?.(value))
      throw new CommandError('TypeMismatch', `field '${field}' of failCommand has a wrong type`)
  }
  const { failCommands, appName, errorCode, errorLabels, writeConcernError, closeConnection, blockConnection } = data
  if (failCommands === undefined) throw new CommandError('BadValue', "failCommand needs the field 'failCommands'")
  if (blockConnection && data.blockTimeMS === undefined) {
    throw new CommandError('BadValue', "blockConnection needs the field 'blockTimeMS'")
  }
  return {
    failCommands: new Set(failCommands),
    ...(appName !== undefined && { appName }),
    failure: {
      ...(blockConnection && { blockTimeMS: toNumber(data.blockTimeMS) }),
      ...(closeConnection && { closeConnection }),
      ...(errorCode !== undefined && { errorCode: toNumber(errorCode) }),
      ...(writeConcernError !== undefined && { writeConcernError }),
      ...(errorLabels !== undefined && { errorLabels }),
    },
  }
}
