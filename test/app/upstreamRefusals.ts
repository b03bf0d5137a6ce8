import t from 'tap'
import { UpstreamRefusals } from '../../src/app/upstreamRefusals.js'
import { Fault } from '../../src/errors.js'
import { ConnectionError } from '../../src/upstream/connectionError.js'
import { createManualClock } from '../support/clock.js'

const failure = (code: string, kind: 'closed' | 'timeout' = 'closed') =>
  new Fault('upstream/unreachable', undefined, { code }, new ConnectionError(kind))

function createRefusals({ hasPrimary = true } = {}) {
  const clock = createManualClock()
  const lines: unknown[] = []
  const counted: string[] = []
  const refusals = new UpstreamRefusals({
    currentPrimary: () => (hasPrimary ? { address: 'mongo-0:27017' } : undefined),
    metrics: { count: (...[name]) => void counted.push(name) },
    log: (...line) => void lines.push(line),
    now: clock.now,
  })
  return { clock, lines, counted, refusals }
}

t.test('closed connections to a primary that answers its monitor are counted, and logged once a minute', async t => {
  const { clock, lines, counted, refusals } = createRefusals()
  refusals.record(failure('closed by the upstream'))
  refusals.record(failure('ECONNRESET'))
  t.same(lines, [['error', 'upstream refuses connections', { upstream: 'mongo-0:27017' }]])
  t.same(counted, Array(2).fill('upstream_refused_connections_total'))
  clock.advance(60_000)
  refusals.record(failure('ECONNRESET'))
  t.equal(lines.length, 2)
})

t.test('an upstream without a primary, or that is not there, or too slow, is not full', async t => {
  const missing = createRefusals({ hasPrimary: false })
  missing.refusals.record(failure('ECONNRESET'))
  const { refusals, lines, counted } = createRefusals()
  refusals.record(failure('ECONNREFUSED'))
  refusals.record(failure('ETIMEDOUT', 'timeout'))
  refusals.record(new Fault('upstream/unreachable', 'the member is not the primary'))
  refusals.record(new Fault('upstream/authentication-failed'))
  t.same([...lines, ...counted, ...missing.lines, ...missing.counted], [])
})
