/**
 * The pins of `principalId: firstUse` over HTTP: GET tells them, DELETE clears one, so that the next id that is seen counts.
 *
 *     DELETE /pins  {"arn": "arn:aws:iam::123456789012:role/app"}
 */
import { z } from 'zod'
import { Fault } from '../errors.js'
import { canonicalizeArn, parseArn } from '../identity/arn.js'
import type { Pins } from '../users/pins.js'
import { type AdminRequest, type AdminResponse, jsonResponse, textResponse } from './http.js'
import { type AccessOptions, checkAccess, parseJsonBody } from './access.js'

export type PinsOptions = AccessOptions & {
  /** Undefined where nothing keeps any. */
  pins: Pick<Pins, 'all' | 'clear'> | undefined
}

const form = z.strictObject({ arn: z.string() })

/** Answers whatever is asked of /pins. A pin that was cleared is answered with 200 once the disk has it so, else with 507. */
export async function handlePinsRequest(asked: AdminRequest, { pins, ...guards }: PinsOptions): Promise<AdminResponse> {
  const refused = checkAccess(asked, guards, ['GET', 'DELETE'])
  if (refused) return refused
  if (!pins) return textResponse(404, 'there are no pins, since pins.file is not set')
  if (asked.method === 'GET') return jsonResponse(200, Object.fromEntries(pins.all()))
  const body = await parseJsonBody(asked, readPrincipal)
  if ('refused' in body) return body.refused
  const { arn } = body.read
  try {
    const principalId = await pins.clear(arn)
    if (principalId !== undefined) return jsonResponse(200, { cleared: { [arn]: principalId } })
    return textResponse(404, `no id is pinned for ${arn}; GET /pins has those that are`)
  } catch (thrown) {
    const fault = Fault.from(thrown)
    const unreadable = fault.data('users/unreadable')
    if (!unreadable) throw fault
    return textResponse(507, `it stays as it is, since the disk takes no other pins.file: ${unreadable.why}`)
  }
}

/** The principal, by any of its ARNs. */
function readPrincipal(value: unknown): { arn: string } | string {
  const { data } = form.safeParse(value)
  if (!data) return 'wanted {"arn": "…"} and nothing else'
  const arn = parseArn(data.arn)
  return arn ? { arn: canonicalizeArn(arn) } : 'arn: wanted the whole ARN of a user or role'
}
