/**
 * The deny list over HTTP: GET lists it, POST adds an entry, DELETE removes one.
 *
 *     POST /deny  {"arn": "arn:aws:iam::123456789012:user/mallory", "why": "ticket 4711"}
 */
import { z } from 'zod'
import { Fault } from '../errors.js'
import { type Denial, parseDenial } from '../revocation/denials.js'
import { type Caller, readJsonBody } from './access.js'
import { type AdminRequest, type AdminResponse, jsonResponse, textResponse } from './http.js'
import type { Route } from './routes.js'

/** A change of the deny list, or an attempt that failed. `closed`: the number of connections that the denial closed. */
export type DenialChange = {
  type: 'denied' | 'undenied'
  denial: Denial
  caller: Caller
  closed?: number
  fault?: Fault
}

export type DenyOptions = {
  /** Milliseconds since 1970. */
  now(): number
  /** A sentence about a denial that has no effect here. It is added all the same, as from a list that several proxies share. */
  findWarning?(denial: Denial): string | undefined
  list(): { file: readonly Denial[]; admin: readonly Denial[] }
  /** Returns the number of connections that the denial closed. Throws `denials/not-persisted`. */
  deny(denial: Denial): Promise<number>
  /** Returns false if POST /deny did not add such an entry. Throws `denials/not-persisted`. */
  allow(denial: Denial): Promise<boolean>
  onChange(change: DenialChange): void
}

type Change = (denial: Denial, caller: Caller, options: DenyOptions) => Promise<AdminResponse>

const deny: Change = async (denial, caller, options) => {
  // An expired denial would replace one that is in effect.
  if (denial.until && denial.until.getTime() <= options.now()) {
    return textResponse(400, 'until: is in the past; to remove an entry, DELETE it')
  }
  const warning = options.findWarning?.(denial)
  const closed = await options.deny(denial)
  options.onChange({ type: 'denied', denial, caller, closed })
  return jsonResponse(200, { denied: toFileEntry(denial), closed, ...(warning !== undefined && { warning }) })
}

const allow: Change = async (denial, caller, options) => {
  if (!(await options.allow(denial))) {
    return textResponse(404, 'no such entry was added by POST /deny; remove entries of deny.file from that file')
  }
  options.onChange({ type: 'undenied', denial, caller })
  return jsonResponse(200, { allowed: toFileEntry(denial) })
}

/** An entry has one of the first five. */
const entrySchema = z.strictObject({
  arn: z.string().optional(),
  session: z.string().optional(),
  principalId: z.string().optional(),
  accessKey: z.string().optional(),
  account: z.string().optional(),
  why: z.string().optional(),
  until: z.iso.datetime().optional(),
})
const bodySchema = z.union([entrySchema, z.string()])

/** The route /deny. A change is answered with 200 once it is on disk, and with 507 if it cannot be saved. */
export function createDenyRoute(options: DenyOptions): Route {
  return {
    GET: {
      access: 'read',
      isRecorded: true,
      summary: 'The deny list: entries of deny.file, and those that were added here.',
      response: z.strictObject({ file: z.array(entrySchema), admin: z.array(entrySchema) }),
      run: () => jsonResponse(200, toFileEntries(options.list())),
    },
    POST: {
      access: 'write',
      summary: 'Adds an entry to the deny list and closes the sessions that it denies. 507: it could not be saved.',
      body: bodySchema,
      response: z.strictObject({ denied: entrySchema, closed: z.int(), warning: z.string().optional() }),
      run: (request, caller) => change('denied', request, caller, options),
    },
    DELETE: {
      access: 'write',
      summary: 'Removes an entry that was added here. 507: the change could not be saved.',
      body: bodySchema,
      response: z.strictObject({ allowed: entrySchema }),
      run: (request, caller) => change('undenied', request, caller, options),
    },
  }
}

async function change(
  type: DenialChange['type'],
  request: AdminRequest,
  caller: Caller,
  options: DenyOptions,
): Promise<AdminResponse> {
  const body = await readJsonBody(request, parseDenial)
  if ('refusal' in body) return body.refusal
  const denial = body.value
  try {
    return await (type === 'denied' ? deny : allow)(denial, caller, options)
  } catch (thrown) {
    const fault = Fault.from(thrown)
    options.onChange({ type, denial, caller, fault })
    if (fault.kind !== 'denials/not-persisted') throw fault
    return textResponse(fault.definition.httpStatus ?? 500, `${fault.message}. ${fault.definition.remedy}`)
  }
}

/** The denial as it would be written in the deny file. */
const toFileEntry = ({ kind, value, ...rest }: Denial) => ({ [kind]: value, ...rest })

const toFileEntries = ({ file, admin }: ReturnType<DenyOptions['list']>) => ({
  file: file.map(toFileEntry),
  admin: admin.map(toFileEntry),
})
