import t from 'tap'
import { createLogSampler } from '../../src/client/logSampler.js'
import type { FaultKind } from '../../src/errors.js'

t.test('so many lines of a kind are told in a second, and that there were more once a minute', async t => {
  let moment = 0
  const said: FaultKind[] = []
  const isTold = createLogSampler({ maxPerSecond: 3, onSuppressed: kind => said.push(kind), now: () => moment })
  const told = (kind: FaultKind, count: number) =>
    Array.from({ length: count }, () => isTold(kind)).filter(Boolean).length
  t.equal(told('frame/length', 5), 3)
  t.equal(told('tls/handshake-failed', 2), 2, 'another kind has lines of its own')
  t.same(said, ['frame/length'])
  moment = 1_000
  t.equal(told('frame/length', 100), 3)
  t.same(said, ['frame/length'])
  moment = 60_000
  t.equal(told('frame/length', 4), 3)
  t.same(said, ['frame/length', 'frame/length'])
})
