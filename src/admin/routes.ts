/**
 * The routes of the admin interface: every path, its methods, and the access that each needs. A request is checked here, so
 * that a route cannot forget it.
 */
import type { z } from 'zod'
import { type Access, type AccessOptions, type Caller, checkAccess } from './access.js'
import { type AdminRequest, type AdminResponse, textResponse } from './http.js'

export type Operation = {
  access: Access
  /** Whether the audit trail records this read. It records every write. */
  isRecorded?: boolean
  /** One sentence, for the OpenAPI document. */
  summary: string
  /** Query parameters. */
  parameters?: readonly { readonly name: string; readonly description: string; readonly schema: z.ZodType }[]
  /** The JSON of a request and of status 200; text if there is no schema. */
  body?: z.ZodType
  response?: z.ZodType
  run(request: AdminRequest, caller: Caller): AdminResponse | Promise<AdminResponse>
}

export const METHODS = ['GET', 'POST', 'DELETE'] as const
export type Method = (typeof METHODS)[number]

/** The operations of one path. */
export type Route = Readonly<Partial<Record<Method, Operation>>>
export type Routes = Readonly<Record<string, Route>>

/** A request that the audit trail records. */
export type RecordedRequest = {
  method: string
  path: string
  caller: Caller
  status: number
  /** The request was refused before it was handled. */
  isRefused: boolean
  reason?: string | undefined
  target?: string | undefined
}

export type RoutingOptions = {
  routes: Routes
  access: AccessOptions
  /** Called for every write, for reads that must be recorded, and for every request that was refused. */
  onRequest(request: RecordedRequest): void
}

export async function routeRequest(request: AdminRequest, options: RoutingOptions): Promise<AdminResponse> {
  const { path, method } = request
  const { routes, access } = options
  const route = Object.hasOwn(routes, path) ? routes[path] : undefined
  if (!route) {
    return checkAccess(request, 'open', access).refusal ?? notFound(routes)
  }
  const operation = Object.hasOwn(route, method) ? route[method as Method] : undefined
  if (!operation) {
    const allow = Object.keys(route).join(', ')
    return checkAccess(request, 'open', access).refusal ?? textResponse(405, `only ${allow}`, { allow })
  }
  return runOperation(operation, request, options)
}

async function runOperation(
  operation: Operation,
  request: AdminRequest,
  { access, onRequest }: RoutingOptions,
): Promise<AdminResponse> {
  const { method, path, peer } = request
  const { token, refusal } = checkAccess(request, operation.access, access)
  const caller: Caller = { ...peer, token }
  const record = ({ status, target, body }: AdminResponse): void => {
    const reason = status >= 400 ? body.trim() : undefined
    onRequest({ method, path, caller, status, isRefused: refusal !== undefined, reason, target })
  }
  if (refusal) {
    if (operation.access !== 'open') record(refusal)
    return refusal
  }
  const isRecorded = operation.access === 'write' || operation.isRecorded
  try {
    const response = await operation.run(request, caller)
    if (isRecorded) record(response)
    return response
  } catch (thrown) {
    if (isRecorded) record(textResponse(500, 'internal error'))
    throw thrown
  }
}

function notFound(routes: Routes): AdminResponse {
  const paths = Object.keys(routes).filter(path => !path.startsWith('/assets/'))
  return textResponse(404, `not found; paths: ${paths.join(', ')}`)
}
