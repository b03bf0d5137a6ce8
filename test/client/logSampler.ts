import t from 'tap'
import { createLogSampler } from '../../src/client/logSampler.js'
import type { FaultKind } from '../../src/errors.js'

t.test('lines are limited per kind and second, and their suppression is reported once a minute', async t => {
  let moment = 0
  const suppressed: FaultKind[] = []
  const shouldLog = createLogSampler({
    maxPerSecond: 3,
    onSuppressed: kind => suppressed.push(kind),
    now: () => moment,
  })
  const countLogged = (kind: FaultKind, lines: number) =>
    Array.from({ length: lines }, () => shouldLog(kind)).filter(Boolean).length
  t.equal(countLogged('frame/length', 5), 3)
  t.equal(countLogged('tls/handshake-failed', 2), 2, 'another kind has its own limit')
  t.same(suppressed, ['frame/length'])
  moment = 1_000
  t.equal(countLogged('frame/length', 100), 3)
  t.same(suppressed, ['frame/length'])
  moment = 60_000
  t.equal(countLogged('frame/length', 4), 3)
  t.same(suppressed, ['frame/length', 'frame/length'])
})
