import t from 'tap'
import { createClockSync } from '../../src/identity/clockSync.js'
import { faultOfAsync } from '../support/faults.js'

const EU = 'sts.eu-west-1.amazonaws.com'
const US = 'sts.us-east-1.amazonaws.com'

t.test('each host is asked once a second, for all who want to know', async t => {
  const asked: string[] = []
  let moment = 0
  const time = createClockSync({
    async probe(host) {
      asked.push(host)
      return undefined
    },
    now: () => moment,
  })
  await Promise.all([time(EU), time(EU), time(US)])
  t.same(asked, [EU, US])
  moment = 999
  await time(EU)
  t.equal(asked.length, 2)
  moment = 1_000
  await time(EU)
  t.same(asked, [EU, US, EU])
})

t.test('a host that does not answer is a fault that says why', async t => {
  const time = createClockSync({ probe: async () => 'ECONNREFUSED', now: () => 0 })
  t.match(await faultOfAsync(() => time(EU)), { kind: 'sts/unavailable', facts: { answer: 'ECONNREFUSED' } })
})
