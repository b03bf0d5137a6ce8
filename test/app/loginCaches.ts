import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import t from 'tap'
import { createMetricsRecorder } from '../../src/admin/metrics.js'
import { createLoginCaches } from '../../src/app/loginCaches.js'
import { Fault } from '../../src/errors.js'
import { createLog } from '../../src/log.js'

setFlagsFromString('--expose-gc')
const gc = runInNewContext('gc') as () => void

/** Heap in use, in MiB. */
function heap(): number {
  gc()
  gc()
  return process.memoryUsage().heapUsed / 2 ** 20
}

const login = {
  perAddress: 1_000,
  failures: 10,
  failurePeriod: 60_000,
  shadow: false,
  queueTimeout: 4_000,
  timeout: 8_000,
}
const sts = { hosts: [], insecure: false, quota: 600, share: 0.9, successCache: 0 }
const refused = { is: 'refused', code: 'InvalidClientTokenId', message: 'unknown' } as const

t.test('the caches stay bounded in a flood of made-up keys, and a key that has succeeded stays known', async t => {
  const caches = createLoginCaches({
    config: { login, sts },
    sessionSlots: { assertFreeFor() {} },
    metrics: createMetricsRecorder({}),
    log: createLog('error', { write() {} }),
    onKnownCredential() {},
  })
  const host = 'sts.eu-west-1.amazonaws.com'
  const fingerprint = (accessKeyId: string) => caches.fingerprint({ accessKeyId, token: undefined })
  const owner = fingerprint('AKIASP2TPHJSQH3FJXYZ')
  caches.reserveSlot('192.0.2.1', owner).release('verified')

  let made = 0
  const flood = (count: number): void => {
    for (let i = 0; i < count; i++) {
      const madeUp = fingerprint(`AKIASP2TPHJSQH${String(made).padStart(6, '0')}`)
      const address = `10.0.${made % 100}.1`
      made++
      if (caches.findRefusal(host, madeUp)) t.fail('a key that was never used has no refusal')
      const { release } = caches.reserveSlot(address, madeUp)
      caches.recordOutcome(host, madeUp, refused, address)
      release(new Fault('sts/refused', refused.code, { code: refused.code }))
    }
  }
  flood(25_000)
  const full = heap()
  flood(25_000)
  const after = heap()
  t.ok(after - full < 5, `${full.toFixed(1)} MiB, then ${after.toFixed(1)} MiB`)
  t.equal(caches.reserveSlot('192.0.2.1', owner).priority, 'known')
  t.equal(
    caches.reserveSlot('10.0.7.1', owner).priority,
    'suspect',
    'the same key is suspect at an address of the flood',
  )
})
