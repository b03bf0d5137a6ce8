/** An admin server on loopback whose routes a test chooses, and requests to it. */
import { request } from 'node:http'
import { text } from 'node:stream/consumers'
import type { Test } from 'tap'
import type { AccessOptions, AdminToken } from '../../src/admin/access.js'
import { createHealthRoutes, type HealthOptions } from '../../src/admin/health.js'
import type { RecordedRequest, Routes } from '../../src/admin/routes.js'
import { type AdminServerOptions, startAdminServer } from '../../src/admin/server.js'
import { after } from '../../src/clock.js'
import type { Fault } from '../../src/errors.js'
import { Secret } from '../../src/log.js'

export const WRITE_TOKEN = 'the-token-of-ops-that-may-write'
export const READ_TOKEN = 'the-token-of-grafana-that-reads'

export const TOKENS: readonly AdminToken[] = [
  { name: 'ops', may: 'write', token: new Secret(WRITE_TOKEN) },
  { name: 'grafana', may: 'read', token: new Secret(READ_TOKEN) },
]

export type TestAdminOptions = Partial<HealthOptions & AccessOptions & AdminServerOptions> & { routes?: Routes }

export type AdminAnswer = { status: number | undefined; headers: Record<string, unknown>; body: string }

export async function startTestAdminServer(
  t: Test,
  {
    ready = () => ({ ready: true, body: {} }),
    metrics = async () => 'up 1\n',
    tokens = () => TOKENS,
    hosts = () => [],
    isLocal = true,
    routes = {},
    ...rest
  }: TestAdminOptions = {},
) {
  const recorded: RecordedRequest[] = []
  const faults: Fault[] = []
  const server = await startAdminServer({
    host: '127.0.0.1',
    port: 0,
    after,
    onRequest: recordedRequest => recorded.push(recordedRequest),
    onError: fault => faults.push(fault),
    access: { tokens, hosts, isLocal },
    routes: { ...createHealthRoutes({ ready, metrics }), ...routes },
    ...rest,
  })
  t.teardown(() => server.close())
  const ask = (
    path: string,
    { method = 'GET', headers = {} as Record<string, string>, body = '' } = {},
  ): Promise<AdminAnswer> =>
    new Promise((resolve, reject) => {
      const length =
        headers['transfer-encoding'] || body === '' ? {} : { 'content-length': `${Buffer.byteLength(body)}` }
      const options = { host: '127.0.0.1', port: server.port, path, method, headers: { ...headers, ...length } }
      request(options, async response =>
        resolve({ status: response.statusCode, headers: response.headers, body: await text(response) }),
      )
        .on('error', reject)
        .end(body)
    })
  return { server, ask, recorded, faults }
}
