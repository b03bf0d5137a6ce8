import t from 'tap'
import { createMetricsRecorder } from '../../src/admin/metrics.js'
import { ConfigStatus } from '../../src/app/configStatus.js'
import { createManualClock } from '../support/clock.js'

t.test('the hash and the times of the last reloads follow what reloads do', async t => {
  const clock = createManualClock(1_000_500)
  const metrics = createMetricsRecorder({})
  const status = new ConfigStatus('aa', metrics, clock.now)
  metrics.addGauges({ reload_timestamp_seconds: () => status.timestamps() })
  t.same(status.report(), { hash: 'aa', appliedAt: 1_000_500, rejectedAt: undefined, isRejected: false })
  t.same(status.timestamps(), { applied: 1_000.5, rejected: 0 })
  clock.advance(60_000)
  status.recordReload('rejected')
  t.match(status.report(), { hash: 'aa', appliedAt: 1_000_500, rejectedAt: 1_060_500, isRejected: true })
  clock.advance(60_000)
  status.setHash('bb')
  status.recordReload('applied')
  t.equal(status.hash, 'bb')
  t.match(status.report(), { hash: 'bb', appliedAt: 1_120_500, rejectedAt: 1_060_500, isRejected: false })
  const text = await metrics.render()
  for (const line of [
    'config_hash{hash="bb"} 1',
    'reloads_total{outcome="applied"} 1',
    'reload_timestamp_seconds{outcome="applied"} 1120.5',
    'reload_timestamp_seconds{outcome="rejected"} 1060.5',
  ]) {
    t.match(text, line)
  }
  t.notMatch(text, 'hash="aa"')
})
