/**
 * The pinned principal ids of `principalId: firstUse` over HTTP: GET lists them, DELETE clears one, so that the next login
 * of the principal pins its id again.
 *
 *     DELETE /pins  {"arn": "arn:aws:iam::123456789012:role/app"}
 */
import { z } from 'zod'
import { Fault } from '../errors.js'
import { canonicalizeArn, parseArn } from '../identity/arn.js'
import type { Pins } from '../users/pins.js'
import { type AccessOptions, checkAccess, readJsonBody } from './access.js'
import { type AdminRequest, type AdminResponse, jsonResponse, textResponse } from './http.js'

export type PinsOptions = AccessOptions & {
  /** Undefined if pins.file is not set. */
  pins: Pick<Pins, 'all' | 'clear'> | undefined
}

const schema = z.strictObject({ arn: z.string() })

/** Handles a request to /pins. DELETE is answered with 200 once the change is on disk, and with 507 if it cannot be saved. */
export async function handlePinsRequest(
  request: AdminRequest,
  { pins, ...access }: PinsOptions,
): Promise<AdminResponse> {
  const refusal = checkAccess(request, access, ['GET', 'DELETE'])
  if (refusal) return refusal
  if (!pins) return textResponse(404, 'there are no pins: pins.file is not set')
  if (request.method === 'GET') return jsonResponse(200, Object.fromEntries(pins.all()))
  const body = await readJsonBody(request, parsePrincipal)
  if ('refusal' in body) return body.refusal
  const { arn } = body.value
  try {
    const principalId = await pins.clear(arn)
    if (principalId !== undefined) return jsonResponse(200, { cleared: { [arn]: principalId } })
    return textResponse(404, `no id is pinned for ${arn}; GET /pins lists all pins`)
  } catch (thrown) {
    const fault = Fault.from(thrown)
    const unreadable = fault.data('users/unreadable')
    if (!unreadable) throw fault
    return textResponse(507, `the pin was not cleared: ${unreadable.why}`)
  }
}

/** Accepts every ARN form of a principal. */
function parsePrincipal(value: unknown): { arn: string } | string {
  const { data } = schema.safeParse(value)
  if (!data) return 'expected {"arn": "…"} and nothing else'
  const arn = parseArn(data.arn)
  return arn ? { arn: canonicalizeArn(arn) } : 'arn: expected the whole ARN of a user or role'
}
