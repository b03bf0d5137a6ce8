/** The deny list over HTTP: GET tells it, POST adds an entry, DELETE takes one back. Who has the token decides who may log in. */
import { Fault } from '../errors.js'
import { type Denial, parseDenial } from '../revocation/denials.js'
import { type AdminRequest, type AdminResponse, jsonResponse, textResponse } from './http.js'
import { type AccessOptions, checkAccess, parseJsonBody } from './access.js'

export type DenyOptions = AccessOptions & {
  /** Milliseconds since 1970. */
  now(): number
  list(): { file: readonly Denial[]; admin: readonly Denial[] }
  /** Returns how many live connections it closed. Throws `denials/not-persisted`. */
  deny(denial: Denial): Promise<number>
  /** False where nothing was taken back. Throws `denials/not-persisted`. */
  allow(denial: Denial): Promise<boolean>
  /** Told of a change that could not be kept. */
  onPersistenceFailure?(fault: Fault): void
}

type Act = (denial: Denial, parts: DenyOptions) => Promise<AdminResponse>

const acts: Readonly<Record<string, Act>> = {
  POST: async (denial, parts) =>
    // It would deny nobody, and take the place of one that does.
    denial.until && denial.until.getTime() <= parts.now()
      ? textResponse(400, 'until: is over already; to take an entry back, DELETE it')
      : jsonResponse(200, { denied: shown(denial), closed: await parts.deny(denial) }),
  DELETE: async (denial, parts) =>
    (await parts.allow(denial))
      ? jsonResponse(200, { allowed: shown(denial) })
      : textResponse(404, 'nothing like it was denied here; what stands in deny.file is taken out of it there'),
}

/** Answers whatever is asked of /deny. A change is answered with 200 once it is on disk, and with 507 if it cannot be. */
export async function handleDenyRequest(asked: AdminRequest, parts: DenyOptions): Promise<AdminResponse> {
  const refused = checkAccess(asked, parts, ['GET', ...Object.keys(acts)])
  if (refused) return refused
  const act = acts[asked.method]
  if (!act) return jsonResponse(200, byKind(parts.list()))
  const body = await parseJsonBody(asked, parseDenial)
  if ('refused' in body) return body.refused
  try {
    return await act(body.read, parts)
  } catch (thrown) {
    const fault = Fault.from(thrown)
    if (fault.kind !== 'denials/not-persisted') throw fault
    parts.onPersistenceFailure?.(fault)
    return textResponse(507, `${fault.message}. ${fault.definition.remedy}`)
  }
}

/** As the deny file would have it. */
const shown = ({ kind, value, ...rest }: Denial) => ({ [kind]: value, ...rest })
const byKind = ({ file, admin }: ReturnType<DenyOptions['list']>) => ({
  file: file.map(shown),
  admin: admin.map(shown),
})
