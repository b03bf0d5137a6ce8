/**
 * Sends traces with the SDK of OpenTelemetry, whose optional packages are loaded only if `tracing.enabled` is on.
 *
 *     trace() ─▶ sampler ─▶ queue of the SDK (2048 spans; further ones are dropped) ─▶ batches ─▶ OTLP over HTTP
 *
 * Nothing here is on the path of a login: spans are made after it, and the SDK exports them in the background. The SDK
 * reads its own variables. Names of packages are values, so that the program compiles without them.
 */
import { hostname } from 'node:os'
import { type After, after } from '../clock.js'
import type { Config } from '../config/load.js'
import { Fault } from '../errors.js'
import type { Log } from '../log.js'
import { PROXY_NAME, VERSION } from '../upstream/metadata.js'
import type { SpanAttributes, SpanDescription } from './loginSpans.js'

export type Tracing = {
  /** Never throws. */
  trace(span: SpanDescription): void
  /** Sends what is queued, within two seconds. Never rejects. */
  close(): Promise<void>
}

/** Loads a package; rejects as `import` does. */
export type LoadPackage = (name: string) => Promise<unknown>

type Context = object
type Span = {
  isRecording(): boolean
  setStatus(status: { code: number; message: string }): void
  end(endMS: number): void
}
type Api = {
  ROOT_CONTEXT: Context
  SpanKind: { INTERNAL: number; SERVER: number; CLIENT: number }
  SpanStatusCode: { ERROR: number }
  trace: { setSpan(context: Context, span: Span): Context }
}
type SpanOptions = { kind: number; startTime: number; attributes: SpanAttributes }
type Tracer = { startSpan(name: string, options: SpanOptions, context: Context): Span }
type Provider = { getTracer(name: string, version: string): Tracer; shutdown(): Promise<void> }
type ExportResult = { code: number; error?: { message: string; code?: number | string } }
export type Exporter = {
  export(spans: unknown, onResult: (result: ExportResult) => void): void
  forceFlush?(): Promise<void>
  shutdown(): Promise<void>
}
type Sdk = {
  BasicTracerProvider: new (options: { resource: Resource; spanProcessors: object[] }) => Provider
  BatchSpanProcessor: new (exporter: Exporter) => object
}
type Resource = { merge(other: Resource): Resource }
type Resources = {
  defaultResource(): Resource
  resourceFromAttributes(attributes: Record<string, string>): Resource
  detectResources(options: { detectors: object[] }): Resource
  envDetector: object
}
type OtlpExporter = { OTLPTraceExporter: new () => Exporter }

const API = '@opentelemetry/api'
const SDK = '@opentelemetry/sdk-trace-base'
const RESOURCES = '@opentelemetry/resources'
const EXPORTERS = {
  'http/json': '@opentelemetry/exporter-trace-otlp-http',
  'http/protobuf': '@opentelemetry/exporter-trace-otlp-proto',
}
/** The versions in package.json; a test compares them. */
export const TRACING_PACKAGES: Readonly<Record<string, string>> = {
  [API]: '1.9.1',
  [EXPORTERS['http/json']]: '0.223.1',
  [EXPORTERS['http/protobuf']]: '0.223.1',
  [RESOURCES]: '2.12.1',
  [SDK]: '2.12.1',
}
const INSTALL = `npm install ${Object.entries(TRACING_PACKAGES)
  .map(([name, version]) => `${name}@${version}`)
  .join(' ')}`

/** Time for what is queued when the proxy stops. Milliseconds. */
const FLUSH_MS = 2_000
/** The code of an export that succeeded, as the SDK defines it. */
const SUCCESS = 0

export type TracingOptions = {
  config: Pick<Config, 'tracing' | 'instance'>
  /** Replaces what must not be shown in a text. */
  hide: ((text: string) => string) | undefined
  log: Log
  load?: LoadPackage
  after?: After
}

/** Resolves to undefined if tracing is off. Throws `config/invalid` if a package is missing. */
export async function startTracing(options: TracingOptions): Promise<Tracing | undefined> {
  const { config, load = name => import(name) } = options
  const { enabled, protocol } = config.tracing
  if (!enabled) return undefined
  const names = [API, SDK, RESOURCES, EXPORTERS[protocol]]
  const packages = await Promise.all(names.map(load)).catch(toPackageFault)
  return new SdkTracing(packages as [Api, Sdk, Resources, OtlpExporter], options)
}

function toPackageFault(thrown: unknown): never {
  if ((thrown as NodeJS.ErrnoException)?.code !== 'ERR_MODULE_NOT_FOUND') throw thrown
  const problem = `tracing.enabled: an optional package is not installed; run: ${INSTALL}`
  throw new Fault('config/invalid', problem, { problems: [problem] })
}

class SdkTracing implements Tracing {
  readonly #api: Api
  readonly #provider: Provider
  readonly #tracer: Tracer
  readonly #hide: (text: string) => string
  readonly #log: Log
  readonly #after: After

  constructor(
    [api, { BasicTracerProvider, BatchSpanProcessor }, resources, { OTLPTraceExporter }]: [
      Api,
      Sdk,
      Resources,
      OtlpExporter,
    ],
    { config, hide = text => text, log, after: startTimer = after }: TracingOptions,
  ) {
    this.#api = api
    this.#hide = hide
    this.#log = log
    this.#after = startTimer
    this.#provider = new BasicTracerProvider({
      resource: createResource(resources, config.instance ?? hostname()),
      spanProcessors: [new BatchSpanProcessor(reportExports(new OTLPTraceExporter(), log))],
    })
    this.#tracer = this.#provider.getTracer(PROXY_NAME, VERSION)
  }

  trace(span: SpanDescription): void {
    try {
      this.#create(span, this.#api.ROOT_CONTEXT)
    } catch (thrown) {
      this.#log('warn', 'traces not sent', { why: Fault.from(thrown).message })
    }
  }

  #create({ name, kind, startMS, endMS, attributes, error, children }: SpanDescription, context: Context): void {
    const { SpanKind, SpanStatusCode, trace } = this.#api
    const kinds = { server: SpanKind.SERVER, client: SpanKind.CLIENT, internal: SpanKind.INTERNAL }
    const options = { kind: kinds[kind], startTime: startMS, attributes: this.#hideIn(attributes) }
    const span = this.#tracer.startSpan(name, options, context)
    if (!span.isRecording()) return // the sampler left the whole trace out
    if (error !== undefined) span.setStatus({ code: SpanStatusCode.ERROR, message: this.#hide(error) })
    for (const child of children) this.#create(child, trace.setSpan(context, span))
    span.end(endMS)
  }

  #hideIn(attributes: SpanAttributes): SpanAttributes {
    return Object.fromEntries(
      Object.entries(attributes).map(([name, value]) => [name, typeof value === 'string' ? this.#hide(value) : value]),
    )
  }

  async close(): Promise<void> {
    let cancel = (): void => {}
    const timeout = new Promise<void>(resolve => {
      cancel = this.#after(FLUSH_MS, resolve)
    })
    // A failed export was logged.
    await Promise.race([this.#provider.shutdown().catch(() => {}), timeout])
    cancel()
  }
}

/** `OTEL_SERVICE_NAME` and `OTEL_RESOURCE_ATTRIBUTES` override the names of the proxy. */
function createResource(resources: Resources, instance: string): Resource {
  const { defaultResource, resourceFromAttributes, detectResources, envDetector } = resources
  const own = { 'service.name': PROXY_NAME, 'service.version': VERSION, 'service.instance.id': instance }
  return defaultResource()
    .merge(resourceFromAttributes(own))
    .merge(detectResources({ detectors: [envDetector] }))
}

/** Logs the first export that fails, and the first one that succeeds after it. The SDK itself would stay silent. */
export function reportExports(exporter: Exporter, log: Log): Exporter {
  let isFailing = false
  return {
    export(spans, onResult) {
      exporter.export(spans, result => {
        const hasFailed = result.code !== SUCCESS
        if (hasFailed && !isFailing) log('warn', 'traces not sent', { why: describeFailure(result) })
        if (!hasFailed && isFailing) log('info', 'traces sent again')
        isFailing = hasFailed
        onResult(result)
      })
    },
    forceFlush: async () => exporter.forceFlush?.(),
    shutdown: () => exporter.shutdown(),
  }
}

/** `code`: an HTTP status, or a code of Node.js, which the message repeats. A message may be empty. */
function describeFailure({ error }: ExportResult): string {
  const { code, message = '' } = error ?? {}
  const text = typeof code === 'number' ? `${code} ${message}`.trim() : message
  return text || String(code ?? 'no answer')
}
