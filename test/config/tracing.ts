import t from 'tap'
import { readTracing } from '../../src/config/tracing.js'

t.test('traces are off by default, whatever the variables say', async t => {
  const env = { OTEL_EXPORTER_OTLP_ENDPOINT: 'collector', OTEL_TRACES_EXPORTER: 'zipkin' }
  for (const enabled of [false, undefined]) {
    t.match(readTracing(enabled, env), { tracing: { enabled: false }, problems: [], warnings: [] })
  }
})

t.test('traces are sent as protobuf, unless a variable asks for JSON', async t => {
  const protocolOf = (env: Record<string, string>) => readTracing(true, env).tracing.protocol
  t.equal(protocolOf({}), 'http/protobuf')
  t.equal(protocolOf({ OTEL_EXPORTER_OTLP_PROTOCOL: 'http/json' }), 'http/json')
  const both = { OTEL_EXPORTER_OTLP_TRACES_PROTOCOL: 'http/protobuf', OTEL_EXPORTER_OTLP_PROTOCOL: 'http/json' }
  t.equal(protocolOf(both), 'http/protobuf')
})

t.test('the variables that turn the SDK or its traces off do so here, with a warning', async t => {
  for (const env of [{ OTEL_SDK_DISABLED: 'TRUE' }, { OTEL_TRACES_EXPORTER: 'none' }]) {
    const [name = ''] = Object.keys(env)
    t.match(readTracing(true, env), { tracing: { enabled: false }, warnings: [new RegExp(name)] })
  }
})

t.test('a value with which no trace would arrive is refused, and not repeated', async t => {
  const refused: [string, string][] = [
    ['OTEL_EXPORTER_OTLP_PROTOCOL', 'grpc'],
    ['OTEL_EXPORTER_OTLP_TRACES_PROTOCOL', 'grpc'],
    ['OTEL_TRACES_EXPORTER', 'zipkin'],
    ['OTEL_EXPORTER_OTLP_ENDPOINT', 'collector:4318'],
    ['OTEL_EXPORTER_OTLP_TRACES_ENDPOINT', 'grpc://user:hunter2@collector'],
  ]
  for (const [name, value] of refused) {
    const { problems } = readTracing(true, { [name]: value })
    t.equal(problems.length, 1, name)
    t.equal(problems[0]?.path, name)
    t.notMatch(problems[0]?.message, value)
  }
  t.same(readTracing(true, { OTEL_EXPORTER_OTLP_ENDPOINT: 'https://collector:4318' }).problems, [])
})

t.test('an unknown sampler and a wrong ratio are warnings, because the SDK ignores them', async t => {
  const warningsOf = (sampler: string, ratio?: string) =>
    readTracing(true, { OTEL_TRACES_SAMPLER: sampler, OTEL_TRACES_SAMPLER_ARG: ratio }).warnings
  t.match(warningsOf('xray'), [/^OTEL_TRACES_SAMPLER: is ignored/])
  for (const ratio of [undefined, '2', '-1', 'a tenth']) {
    t.match(warningsOf('parentbased_traceidratio', ratio), [/^OTEL_TRACES_SAMPLER_ARG: is ignored/])
  }
  t.same(warningsOf('traceidratio', '0.1'), [])
  t.same(warningsOf('always_off'), [])
  t.same(warningsOf(''), [])
})
