/**
 * The deny list over HTTP: GET lists it, POST adds an entry, DELETE removes one.
 *
 *     POST /deny  {"arn": "arn:aws:iam::123456789012:user/mallory", "why": "ticket 4711"}
 */
import { Fault } from '../errors.js'
import { type Denial, parseDenial } from '../revocation/denials.js'
import { type AccessOptions, checkAccess, readJsonBody } from './access.js'
import { type AdminRequest, type AdminResponse, jsonResponse, textResponse } from './http.js'

export type DenyOptions = AccessOptions & {
  /** Milliseconds since 1970. */
  now(): number
  /** A sentence about a denial that has no effect here. It is added all the same, as from a list that several proxies share. */
  findWarning?(denial: Denial): string | undefined
  list(): { file: readonly Denial[]; admin: readonly Denial[] }
  /** Returns the number of connections that the denial closed. Throws `denials/not-persisted`. */
  deny(denial: Denial): Promise<number>
  /** Returns false if POST /deny did not add such an entry. Throws `denials/not-persisted`. */
  allow(denial: Denial): Promise<boolean>
  onPersistenceFailure?(fault: Fault): void
}

type Handler = (denial: Denial, options: DenyOptions) => Promise<AdminResponse>

const handlers: Readonly<Record<string, Handler>> = {
  POST: async (denial, { now, deny, findWarning }) => {
    // An expired denial would replace one that is in effect.
    if (denial.until && denial.until.getTime() <= now()) {
      return textResponse(400, 'until: is in the past; to remove an entry, DELETE it')
    }
    const warning = findWarning?.(denial)
    return jsonResponse(200, {
      denied: toFileEntry(denial),
      closed: await deny(denial),
      ...(warning !== undefined && { warning }),
    })
  },
  DELETE: async (denial, { allow }) =>
    (await allow(denial))
      ? jsonResponse(200, { allowed: toFileEntry(denial) })
      : textResponse(404, 'no such entry was added by POST /deny; remove entries of deny.file from that file'),
}

/** Handles a request to /deny. A change is answered with 200 once it is on disk, and with 507 if it cannot be saved. */
export async function handleDenyRequest(request: AdminRequest, options: DenyOptions): Promise<AdminResponse> {
  const refusal = checkAccess(request, options, ['GET', ...Object.keys(handlers)])
  if (refusal) return refusal
  const handle = handlers[request.method]
  if (!handle) return jsonResponse(200, toFileEntries(options.list()))
  const body = await readJsonBody(request, parseDenial)
  if ('refusal' in body) return body.refusal
  try {
    return await handle(body.value, options)
  } catch (thrown) {
    const fault = Fault.from(thrown)
    if (fault.kind !== 'denials/not-persisted') throw fault
    options.onPersistenceFailure?.(fault)
    return textResponse(fault.definition.httpStatus ?? 500, `${fault.message}. ${fault.definition.remedy}`)
  }
}

/** The denial as it would be written in the deny file. */
const toFileEntry = ({ kind, value, ...rest }: Denial) => ({ [kind]: value, ...rest })

const toFileEntries = ({ file, admin }: ReturnType<DenyOptions['list']>) => ({
  file: file.map(toFileEntry),
  admin: admin.map(toFileEntry),
})
