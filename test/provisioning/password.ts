import t from 'tap'
import { Secret } from '../../src/log.js'
import { createMark, derivePassword, getPeriod, verifyMark } from '../../src/provisioning/password.js'

const secret = new Secret('a secret that is long enough to be one')
const other = new Secret('another secret, which is as long as that')
const arn = 'arn:aws:iam::123456789012:role/orders'
const user = { db: 'mongo_iam_proxy', user: arn, fleet: 'default' }

t.test('a password depends only on secret, principal and period', async t => {
  const of = (...args: Parameters<typeof derivePassword>) => derivePassword(...args).reveal()
  t.equal(of(secret, arn, 86_400), of(new Secret(secret.reveal()), arn, 86_400))
  t.match(of(secret, arn, 0), /^[\w-]{43}$/)
  const all = [of(secret, arn, 0), of(other, arn, 0), of(secret, `${arn}s`, 0), of(secret, arn, 1)]
  t.equal(new Set(all).size, all.length)
  t.not(of(secret, 'a","1', 2), of(secret, 'a', 12), 'the parts cannot run into each other')
})

t.test('periods start at the same time everywhere and stay in order when their length changes', async t => {
  const day = 86_400_000
  const now = Date.UTC(2026, 10, 22, 15, 30)
  t.equal(getPeriod(now, day), Date.UTC(2026, 10, 22) / 1000)
  t.equal(getPeriod(now + day, day) - getPeriod(now, day), 86_400)
  t.equal(getPeriod(now, 3_600_000), Date.UTC(2026, 10, 22, 15) / 1000)
  t.ok(getPeriod(now + day, day) > getPeriod(now, 60_000), 'the next day is later than any minute of this one')
})

t.test('a mark tells its secret and its period', async t => {
  const sealed = { isSealed: true, clientSource: [] as string[] }
  t.same(verifyMark(createMark(secret, user, 86_400), user, [secret]), { ...sealed, secret, period: 86_400 })
  const mark = createMark(other, user, 5, ['192.0.2.0/24'])
  t.same(verifyMark(mark, user, [secret, other]), {
    ...sealed,
    secret: other,
    period: 5,
    clientSource: ['192.0.2.0/24'],
  })
  t.equal(JSON.stringify(mark).includes(derivePassword(other, arn, 5).reveal()), false)
})

t.test('a mark of release 0.1.0 verifies, but its period is not proven', async t => {
  const { seal: _, ...mark } = createMark(secret, user, 5, ['192.0.2.0/24'])
  t.match(verifyMark(mark, user, [secret]), { secret, period: 5, isSealed: false })
  t.match(verifyMark({ ...mark, period: 4_000_000_000 }, user, [secret]), { isSealed: false })
})

t.test('a mark whose period or networks were changed does not verify', async t => {
  const mark = createMark(secret, user, 86_400, ['192.0.2.0/24'])
  const later = createMark(secret, user, 172_800, ['192.0.2.0/24'])
  const rows: [string, object][] = [
    ['another period', { period: 172_800 }],
    ['other networks', { clientSource: ['0.0.0.0/0'] }],
    ['more networks', { clientSource: ['192.0.2.0/24', '0.0.0.0/0'] }],
    ['no networks', { clientSource: undefined }],
    ['the seal of another period', { seal: later.seal }],
    ['the seal of another user', { seal: createMark(secret, { ...user, user: `${arn}s` }, 86_400).seal }],
    ['the other HMAC in place of the seal', { seal: mark.mac }],
    ['half a seal', { seal: mark.seal?.slice(0, 20) }],
    ['an empty seal', { seal: '' }],
    ['a seal of another kind', { seal: 5 }],
    ['null', { seal: null }],
  ]
  for (const [what, changes] of rows) t.equal(verifyMark({ ...mark, ...changes }, user, [secret]), undefined, what)
  t.equal(verifyMark({ ...mark, mac: mark.seal }, user, [secret]), undefined, 'the seal in place of the other HMAC')
})

t.test('a mark of another fleet or user does not verify', async t => {
  const mark = createMark(secret, user, 5)
  const rows: [string, unknown, object?][] = [
    ['no customData', undefined],
    ['null', null],
    ['text', 'mark'],
    ['something else', { team: 'x' }],
    ['no mac', { fleet: 'default', period: 5 }],
    ['half a mac', { ...mark, mac: mark.mac.slice(0, 20) }],
    ['an empty mac', { ...mark, mac: '' }],
    ['a mac of another kind', { ...mark, mac: 5 }],
    ['no period', { ...mark, period: undefined }],
    ['half a period', { ...mark, period: 0.5 }],
    ['a period before time', { ...mark, period: -1 }],
    ['sources of another kind', { ...mark, clientSource: [1] }],
    ['another fleet', { ...mark, fleet: 'other' }],
    ['a mark of another fleet', mark, { fleet: 'other' }],
    ['a mark of another user', mark, { user: `${arn}s` }],
    ['a mark of another database', mark, { db: 'admin' }],
    ['a mark by another secret', createMark(other, user, 5)],
  ]
  for (const [what, customData, changes] of rows) {
    t.equal(verifyMark(customData, { ...user, ...changes }, [secret]), undefined, what)
  }
  t.equal(verifyMark(mark, user, []), undefined)
})
