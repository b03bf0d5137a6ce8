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
import { type Caller, readJsonBody } from './access.js'
import { type AdminRequest, type AdminResponse, jsonResponse, textResponse } from './http.js'
import type { Operation, Route } from './routes.js'

type PinList = Pick<Pins, 'all' | 'clear'>

export type PinsOptions = {
  /** Undefined if pins.file is not set. */
  pins: PinList | undefined
  onCleared(pin: { arn: string; principalId: string; caller: Caller }): void
}

const schema = z.strictObject({ arn: z.string() })

/** The route /pins. DELETE is answered with 200 once the change is on disk, and with 507 if it cannot be saved. */
export function createPinsRoute(options: PinsOptions): Route {
  const withPins =
    (run: (pins: PinList, request: AdminRequest, caller: Caller) => AdminResponse | Promise<AdminResponse>) =>
    (...[request, caller]: Parameters<Operation['run']>) =>
      options.pins ? run(options.pins, request, caller) : textResponse(404, 'there are no pins: pins.file is not set')
  return {
    GET: {
      access: 'read',
      isRecorded: true,
      summary: 'Pinned ids by principal.',
      response: z.record(z.string(), z.string()),
      run: withPins(pins => jsonResponse(200, Object.fromEntries(pins.all()))),
    },
    DELETE: {
      access: 'write',
      summary: 'Clears a pin, so that the next login pins an id. 507: the change could not be saved.',
      body: schema,
      response: z.strictObject({ cleared: z.record(z.string(), z.string()) }),
      run: withPins((pins, request, caller) => clear(pins, request, caller, options)),
    },
  }
}

async function clear(
  pins: PinList,
  request: AdminRequest,
  caller: Caller,
  { onCleared }: PinsOptions,
): Promise<AdminResponse> {
  const body = await readJsonBody(request, parsePrincipal)
  if ('refusal' in body) return body.refusal
  const { arn } = body.value
  try {
    const principalId = await pins.clear(arn)
    if (principalId === undefined) return textResponse(404, `no id is pinned for ${arn}; GET /pins lists all pins`)
    onCleared({ arn, principalId, caller })
    return jsonResponse(200, { cleared: { [arn]: principalId } })
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
