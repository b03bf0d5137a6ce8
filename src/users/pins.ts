/**
 * Pins: the unique id that a principal had at its first login, for rules with `principalId: firstUse`.
 *
 *     { "arn:aws:iam::123456789012:role/app": "AROA…" }
 *
 * A pin counts once it is on disk. The file belongs to a single process: a second one would overwrite pins that it has
 * never read.
 */
import { z } from 'zod'
import type { RecordAuditEvent } from '../audit/events.js'
import { Fault } from '../errors.js'
import { parseArn } from '../identity/arn.js'
import type { Identity } from '../identity/reply.js'
import { type Log, silentLog } from '../log.js'
import { describePath } from '../redaction.js'
import { type OwnFile, openOwnFile, SerializedFile } from './serializedFile.js'

type Principal = Pick<Identity, 'canonical' | 'principalId'>

export type Pins = {
  /** Pins the id of the principal unless one is pinned. Resolves to the pinned id. Rejects with `users/unreadable`. */
  pin(identity: Principal): Promise<string>
  /** The pinned id. */
  get(canonical: string): string | undefined
  /** Ids by canonical ARN. */
  all(): ReadonlyMap<string, string>
  /**
   * Removes a pin, so that the next login pins an id. Resolves to the removed id, or undefined if there was none.
   * Rejects with `users/unreadable`.
   */
  clear(canonical: string): Promise<string | undefined>
}

const schema = z.record(
  z.string().refine(text => parseArn(text) !== undefined),
  z.string().regex(/^(AIDA|AROA)[A-Z0-9]{12,124}$/),
)

/** Opens the pins in `pins.file`, which need not exist yet. Throws `config/invalid`. */
export function openPins(path: string, log: Log = silentLog, record?: RecordAuditEvent): Pins {
  return createPins(openOwnFile(path, 'pins.file'), log, record)
}

/** Throws `config/invalid` for a file of another form: without its pins the proxy would trust the next id it sees. */
export function createPins(file: OwnFile, log: Log, record: RecordAuditEvent = () => {}): Pins {
  const pins = new SerializedFile<ReadonlyMap<string, string>>({
    file,
    value: file.text === undefined ? new Map() : parsePins(file.text, file.path),
    format: value => `${JSON.stringify(Object.fromEntries(value), null, 1)}\n`,
    toFault: (code, cause) => {
      const why = `pins.file: cannot write ${describePath(file.path)}: ${code}`
      return new Fault('users/unreadable', undefined, { why }, cause)
    },
  })
  return {
    get: canonical => pins.value.get(canonical),
    all: () => pins.value,
    async pin({ canonical: arn, principalId }) {
      const pinned = pins.value.get(arn)
      if (pinned !== undefined) return pinned
      const { isNew, id } = await pins.update(value => {
        const earlier = value.get(arn)
        if (earlier !== undefined) return { result: { isNew: false, id: earlier } }
        return { next: new Map(value).set(arn, principalId), result: { isNew: true, id: principalId } }
      })
      if (isNew) {
        log('info', 'principal id pinned', { arn, principalId })
        record('pin.set', { actor: { kind: 'principal', id: arn }, arn, principalId })
      }
      return id
    },
    async clear(arn) {
      const principalId = await pins.update(value => {
        const result = value.get(arn)
        if (result === undefined) return { result }
        return { next: new Map([...value].filter(([other]) => other !== arn)), result }
      })
      if (principalId !== undefined) log('warn', 'principal id unpinned', { arn, principalId })
      return principalId
    },
  }
}

function parsePins(text: string, path: string): Map<string, string> {
  try {
    return new Map(Object.entries(schema.parse(JSON.parse(text))))
  } catch {
    const problem = `pins.file: ${describePath(path)} is not a file of pins; restore it from a copy, or move it away to pin again`
    throw new Fault('config/invalid', problem, { problems: [problem] })
  }
}
