/**
 * The variables of OpenTelemetry that decide whether and how traces are sent. The SDK reads the others itself.
 * https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/
 *
 * The SDK replaces an invalid value by its default, so an operator would wait for traces that go elsewhere. Values are not
 * repeated in messages: a URL or a header may hold a secret.
 */
import type { Problem } from './problem.js'

type Environment = Readonly<Record<string, string | undefined>>

const PROTOCOLS = ['http/protobuf', 'http/json'] as const
export type TracingConfig = { enabled: boolean; protocol: (typeof PROTOCOLS)[number] }

const SAMPLERS = [
  'always_on',
  'always_off',
  'traceidratio',
  'parentbased_always_on',
  'parentbased_always_off',
  'parentbased_traceidratio',
]

/** A variable for traces overrides the one for all signals. */
const PROTOCOL = ['OTEL_EXPORTER_OTLP_TRACES_PROTOCOL', 'OTEL_EXPORTER_OTLP_PROTOCOL']
const ENDPOINTS = ['OTEL_EXPORTER_OTLP_TRACES_ENDPOINT', 'OTEL_EXPORTER_OTLP_ENDPOINT']
const EXPORTER = 'OTEL_TRACES_EXPORTER'
const SAMPLER = 'OTEL_TRACES_SAMPLER'
const RATIO = 'OTEL_TRACES_SAMPLER_ARG'

/** If traces are off, no variable matters. `problems` have the name of a variable as their path. */
export function readTracing(
  enabled: boolean | undefined,
  env: Environment,
): { tracing: TracingConfig; problems: Problem[]; warnings: string[] } {
  const off: TracingConfig = { enabled: false, protocol: PROTOCOLS[0] }
  if (!enabled) return { tracing: off, problems: [], warnings: [] }
  const value = (name: string) => env[name]?.trim() ?? ''
  const isDisabled = value('OTEL_SDK_DISABLED').toLowerCase() === 'true'
  if (isDisabled || value(EXPORTER) === 'none') {
    const cause = isDisabled ? 'OTEL_SDK_DISABLED is true' : `${EXPORTER} is none`
    return { tracing: off, problems: [], warnings: [`tracing.enabled: has no effect, because ${cause}`] }
  }
  const protocolName = PROTOCOL.find(name => value(name) !== '')
  const protocol = protocolName === undefined ? PROTOCOLS[0] : PROTOCOLS.find(one => one === value(protocolName))
  const refuse = (path: string, message: string): Problem => ({ path, message })
  return {
    tracing: { enabled: true, protocol: protocol ?? PROTOCOLS[0] },
    problems: [
      ...(protocol === undefined ? [refuse(protocolName ?? '', `expected ${PROTOCOLS.join(' or ')}`)] : []),
      ...(['', 'otlp'].includes(value(EXPORTER)) ? [] : [refuse(EXPORTER, 'expected otlp or none')]),
      ...ENDPOINTS.filter(name => value(name) !== '' && !isHttpUrl(value(name))).map(name =>
        refuse(name, 'expected a URL that begins with http:// or https://'),
      ),
    ],
    warnings: listSamplerWarnings(value(SAMPLER), value(RATIO)),
  }
}

/** The specification asks programs to ignore an unknown sampler, which may be meant for another language. */
function listSamplerWarnings(sampler: string, ratio: string): string[] {
  if (sampler !== '' && !SAMPLERS.includes(sampler)) {
    return [`${SAMPLER}: is ignored, so every login is traced; expected one of ${SAMPLERS.join(', ')}`]
  }
  if (!sampler.endsWith('traceidratio') || isFraction(ratio)) return []
  return [`${RATIO}: is ignored, so every login is traced; expected a number from 0 to 1`]
}

function isFraction(text: string): boolean {
  return text !== '' && Number(text) >= 0 && Number(text) <= 1
}

function isHttpUrl(text: string): boolean {
  return URL.canParse(text) && /^https?:$/.test(new URL(text).protocol)
}
