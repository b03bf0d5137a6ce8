import t from 'tap'
import { createClockSync } from '../../src/identity/clockSync.js'
import { faultOfAsync } from '../support/faults.js'

const EU = 'sts.eu-west-1.amazonaws.com'
const US = 'sts.us-east-1.amazonaws.com'

t.test('each host is called at most once a second, for all callers', async t => {
  const probed: string[] = []
  let time = 0
  const sync = createClockSync({
    async probe(host) {
      probed.push(host)
      return undefined
    },
    now: () => time,
  })
  await Promise.all([sync(EU), sync(EU), sync(US)])
  t.same(probed, [EU, US])
  time = 999
  await sync(EU)
  t.equal(probed.length, 2)
  time = 1_000
  await sync(EU)
  t.same(probed, [EU, US, EU])
})

t.test('a host that does not answer is a fault with the reason', async t => {
  const sync = createClockSync({ probe: async () => 'ECONNREFUSED', now: () => 0 })
  t.match(await faultOfAsync(() => sync(EU)), { kind: 'sts/unavailable', facts: { why: 'ECONNREFUSED' } })
})
