import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'
import type { SpanDescription } from '../../src/app/loginSpans.js'
import { type Exporter, reportExports, startTracing, TRACING_PACKAGES } from '../../src/app/tracing.js'
import { OPTIONAL_PACKAGES } from '../../src/commands/doctor/awsSdk.js'
import { silentLog } from '../../src/log.js'
import { createManualClock } from '../support/clock.js'
import { program, startDemoWith } from '../support/demo.js'
import { startHttpServer } from '../support/httpServer.js'
import { runNode } from '../support/program.js'
import { logInRaw } from '../support/rawLogin.js'
import { waitUntil } from '../support/waitUntil.js'

/** Stops without the delay for load balancers. */
const FAST = ['--drain-delay', '0s']
const preload = fileURLToPath(new URL('../support/withoutOpenTelemetry.mjs', import.meta.url))

/** A receiver of traces, and the variables that lead a proxy to it. The SDK waits for a flush, or for a full batch. */
async function startReceiver(t: Test, protocol: string, isAnswering = true) {
  const server = await startHttpServer(t, response => {
    if (isAnswering) response.setHeader('content-type', 'application/json').end('{}')
  })
  const env = {
    OTEL_EXPORTER_OTLP_ENDPOINT: `http://127.0.0.1:${server.port}`,
    OTEL_EXPORTER_OTLP_PROTOCOL: protocol,
    OTEL_BSP_SCHEDULE_DELAY: '600000',
    OTEL_SERVICE_NAME: 'mongo-login',
    OTEL_RESOURCE_ATTRIBUTES: 'deployment.environment.name=test',
  }
  return { server, env }
}

type Value = { stringValue?: string; intValue?: number; boolValue?: boolean }
type Attribute = { key: string; value: Value }
type OtlpSpan = {
  name: string
  traceId: string
  spanId: string
  parentSpanId?: string
  startTimeUnixNano: string
  endTimeUnixNano: string
  attributes: Attribute[]
  status: { code: number; message?: string }
}

const toObject = (attributes: Attribute[]) =>
  Object.fromEntries(attributes.map(({ key, value }) => [key, value.stringValue ?? value.intValue ?? value.boolValue]))

function parseTraces(body: string) {
  const [{ resource, scopeSpans }] = JSON.parse(body).resourceSpans
  const spans: OtlpSpan[] = scopeSpans.flatMap((scope: { spans: OtlpSpan[] }) => scope.spans)
  return { resource: toObject(resource.attributes), spans }
}

t.test('a login arrives at a collector as a trace, and a refused one as a failed trace', async t => {
  const { server, env } = await startReceiver(t, 'http/json')
  const demo = await startDemoWith(t, { env }, '--tracing-enabled', ...FAST)
  const { port } = demo.ready.proxy
  t.match((await logInRaw(t, port, demo.orders)).reply, { ok: 1 })
  const wrong = { ...demo.alice, secretAccessKey: 'not the secret of alice' }
  t.match((await logInRaw(t, port, wrong)).reply, { ok: 0 })
  t.equal(await demo.stop(), 0)
  t.match(
    server.calls.map(({ method, url }) => [method, url]),
    [['POST', '/v1/traces']],
  )
  const [call] = server.calls
  const { resource, spans } = parseTraces(call?.body ?? '')
  t.match(resource, { 'service.name': 'mongo-login', 'deployment.environment.name': 'test', 'service.version': /^\d/ })
  const [success, refused] = spans.filter(({ name }) => name === 'login')
  t.match(toObject(success?.attributes ?? []), {
    'mongo_iam_proxy.outcome': 'success',
    'mongo_iam_proxy.arn': /assumed-role\/orders-api\/demo$/,
    'mongo_iam_proxy.database_user': 'orders-api@admin',
    'mongo_iam_proxy.account': '123456789012',
  })
  t.match(toObject(refused?.attributes ?? []), { 'error.type': 'sts/refused', 'mongo_iam_proxy.outcome': 'refused' })
  t.match(refused?.status, { code: 2, message: /SignatureDoesNotMatch/ })
  const children = spans.filter(({ parentSpanId }) => parentSpanId === success?.spanId)
  t.same(
    children.map(({ name, traceId }) => [name, traceId === success?.traceId]),
    [
      ['queue', true],
      ['sts', true],
      ['upstream', true],
    ],
  )
  const nanoseconds = ({ startTimeUnixNano: start, endTimeUnixNano: end }: OtlpSpan) => [BigInt(start), BigInt(end)]
  for (const child of children) {
    const [start = 0n, end = 0n] = nanoseconds(child)
    const [first = 0n, last = 0n] = success ? nanoseconds(success) : []
    t.ok(first <= start && start <= end && end <= last, `${child.name} ran during the login`)
  }
  for (const { secretAccessKey, sessionToken } of [demo.orders, wrong, demo.alice]) {
    t.notOk(call?.body.includes(secretAccessKey))
    t.notOk(sessionToken && call?.body.includes(sessionToken))
  }
})

t.test('traces are sent as protobuf by default', async t => {
  const { server, env } = await startReceiver(t, '')
  const demo = await startDemoWith(t, { env }, '--tracing-enabled', ...FAST)
  t.match((await logInRaw(t, demo.ready.proxy.port, demo.orders)).reply, { ok: 1 })
  t.equal(await demo.stop(), 0)
  t.match(server.calls, [{ headers: { 'content-type': 'application/x-protobuf' }, body: /orders-api@admin/ }])
})

t.test('a collector that never answers delays no login, and a stop only for a moment', async t => {
  const { server, env } = await startReceiver(t, 'http/json', false)
  const unbounded = { OTEL_EXPORTER_OTLP_TIMEOUT: '600000', OTEL_BSP_EXPORT_TIMEOUT: '600000' }
  const eager = { ...env, ...unbounded, OTEL_BSP_SCHEDULE_DELAY: '1' }
  const demo = await startDemoWith(t, { env: eager }, '--tracing-enabled', ...FAST)
  t.match((await logInRaw(t, demo.ready.proxy.port, demo.orders)).reply, { ok: 1 })
  await waitUntil(() => server.calls.length === 1)
  t.match((await logInRaw(t, demo.ready.proxy.port, demo.operator)).reply, { ok: 1 })
  t.equal(await demo.stop(), 0)
})

t.test('a sampler decides about whole traces', async t => {
  const { server, env } = await startReceiver(t, 'http/json')
  const demo = await startDemoWith(
    t,
    { env: { ...env, OTEL_TRACES_SAMPLER: 'always_off' } },
    '--tracing-enabled',
    ...FAST,
  )
  t.match((await logInRaw(t, demo.ready.proxy.port, demo.orders)).reply, { ok: 1 })
  t.equal(await demo.stop(), 0)
  t.same(server.calls, [])
})

t.test('nothing of the SDK is loaded while traces are off', async t => {
  const { server, env } = await startReceiver(t, 'http/json')
  const disabled = { env: { ...env, OTEL_SDK_DISABLED: 'true' }, preload }
  for (const demo of [
    await startDemoWith(t, { env, preload }, ...FAST),
    await startDemoWith(t, disabled, '--tracing-enabled', ...FAST),
  ]) {
    t.match((await logInRaw(t, demo.ready.proxy.port, demo.orders)).reply, { ok: 1 })
    t.equal(await demo.stop(), 0)
  }
  t.same(server.calls, [])
})

t.test('a missing package is exit code 78 and the line that installs all of them', async t => {
  const { code, stderr } = await runNode(t, ['--import', preload, program, 'demo', '--port', '0', '--tracing-enabled'])
  t.equal(code, 78)
  t.match(stderr, /tracing\.enabled: an optional package is not installed; run: npm install @opentelemetry\/api@1/)
})

t.test('package.json has the packages, and no optional package that nothing needs', async t => {
  const { optionalDependencies } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8'))
  t.same({ ...OPTIONAL_PACKAGES, ...TRACING_PACKAGES }, optionalDependencies)
  const options = { config: createConfig(), hide: undefined, log: silentLog }
  await t.rejects(startTracing({ ...options, load: () => Promise.reject(new Error('broken')) }), /broken/)
})

type ExportedSpan = { attributes: Record<string, unknown>; status: { message?: string } }

const createConfig = () => ({ instance: 'proxy-1', tracing: { enabled: true, protocol: 'http/json' as const } })
const span: SpanDescription = { name: 'login', kind: 'server', startMS: 1, endMS: 2, attributes: {}, children: [] }

/** The real SDK with an exporter that keeps what it gets, and answers nothing. */
async function startWithSilentExporter(hide?: (text: string) => string) {
  const exported: ExportedSpan[] = []
  class OTLPTraceExporter implements Exporter {
    export(spans: unknown): void {
      exported.push(...(spans as ExportedSpan[]))
    }
    async shutdown(): Promise<void> {}
  }
  const clock = createManualClock()
  const tracing = await startTracing({
    config: createConfig(),
    hide,
    log: silentLog,
    load: name => (name.includes('/exporter-') ? Promise.resolve({ OTLPTraceExporter }) : import(name)),
    after: clock.after,
  })
  if (!tracing) throw new Error('tracing is off')
  /** Ends as a stop does. */
  const close = async (): Promise<void> => {
    const closed = tracing.close()
    await new Promise(setImmediate) // the SDK exports what is queued
    clock.advance(2_000)
    await closed
  }
  return { tracing, exported, close }
}

t.test('a collector that takes nothing costs a bounded number of spans, and two seconds at the end', async t => {
  const { tracing, exported, close } = await startWithSilentExporter()
  for (let i = 0; i < 10_000; i++) tracing.trace(span)
  await close()
  t.equal(exported.length, 512 + 2048, 'a batch on its way, and the queue')
})

t.test('session names are hidden in every text', async t => {
  const { tracing, exported, close } = await startWithSilentExporter(text => text.replaceAll('alice', 'hash-1'))
  const attributes = { arn: 'assumed-role/app/alice', port: 1 }
  tracing.trace({ ...span, attributes, error: 'alice is denied', children: [{ ...span, attributes }] })
  await close()
  t.match(exported, [
    { attributes: { arn: 'assumed-role/app/hash-1', port: 1 } },
    { attributes: { arn: 'assumed-role/app/hash-1' }, status: { message: 'hash-1 is denied' } },
  ])
})

t.test('a failing collector is logged once, and once again when it takes traces', async t => {
  const results = [
    { code: 0 },
    { code: 1, error: { code: 503, message: 'Service Unavailable' } },
    { code: 1 },
    { code: 0 },
    { code: 1, error: { code: 'ECONNREFUSED', message: 'connect ECONNREFUSED' } },
    { code: 0 },
    { code: 1 },
  ]
  const lines: unknown[] = []
  const silent: Exporter = {
    export: (_, onResult) => onResult(results.shift() ?? { code: 0 }),
    async shutdown() {},
  }
  const exporter = reportExports(silent, (level, event, fields) => lines.push([level, event, fields]))
  let answered = 0
  while (results.length > 0) exporter.export([], () => answered++)
  t.equal(answered, 7)
  t.same(lines, [
    ['warn', 'traces not sent', { why: '503 Service Unavailable' }],
    ['info', 'traces sent again', undefined],
    ['warn', 'traces not sent', { why: 'connect ECONNREFUSED' }],
    ['info', 'traces sent again', undefined],
    ['warn', 'traces not sent', { why: 'no answer' }],
  ])
})
