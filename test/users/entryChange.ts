import t from 'tap'
import {
  findEntry,
  formatRoles,
  hasSameRoles,
  nameNewEntry,
  planGrant,
  planRevocation,
} from '../../src/users/entryChange.js'

const A = '123456789012'
const ORDERS = `arn:aws:iam::${A}:role/orders`
const read = { role: 'read', db: 'app' }
const write = { role: 'readWrite', db: 'app' }
const user = (name: string, more: object = {}) => ({ user: name, db: '$external', roles: [read], ...more })
const entryOf = (...names: string[]) =>
  findEntry(
    names.map(name => user(name)),
    ORDERS,
  )

t.test('the user of a principal is found in every spelling', async t => {
  for (const name of [
    ORDERS,
    `arn:aws:iam::${A}:role/team/orders`,
    `arn:aws:sts::${A}:assumed-role/orders`,
    `arn:aws:sts::${A}:assumed-role/orders/*`,
  ]) {
    t.match(entryOf('CN=x', name, `arn:aws:iam::${A}:role/other`), { entry: { name, roles: [read] }, warnings: [] })
    t.equal(entryOf(name).refusal, undefined)
  }
  t.same(entryOf(), { entry: undefined, refusal: undefined, warnings: [] })
})

t.test('several users of one principal are refused', async t => {
  const { entry, refusal } = entryOf(ORDERS, `arn:aws:iam::${A}:role/team/orders`)
  t.equal(entry, undefined)
  t.match(refusal, /several users of \$external are this principal; drop all but one of/)
})

t.test('an unreadable user is refused', async t => {
  const broken = { ...user(ORDERS), authenticationRestrictions: [{ clientSource: ['nowhere'] }] }
  t.match(findEntry([broken], ORDERS).refusal, /unreadable: its authenticationRestrictions have an unknown form/)
})

t.test('a malformed user that was meant as the principal is refused', async t => {
  for (const name of [
    `arn:aws:iam::${A}:roles/orders`,
    `ARN:aws:iam::${A}:role/Orders`,
    `${ORDERS} `,
    `arn:aws:iam:${A}:role/orders`,
    'arn:aws:iam::12345678901:role/orders',
    `arn%3Aaws%3Aiam%3A%3A${A}%3Arole%2Forders`,
    `arn:aws:sts::${A}:assumed-role/orders/alice`,
  ]) {
    t.match(entryOf(name).refusal, /drop that user, or run dropUser and createUser with the right name$/, name)
    // Beside a good user, it does no harm and is reported.
    t.match(entryOf(name, ORDERS), { entry: { name: ORDERS }, refusal: undefined }, name)
    t.equal(entryOf(name, ORDERS).warnings.length, 1, name)
  }
})

t.test('malformed users of other principals are of no interest', async t => {
  for (const name of [
    `arn:aws:iam::${A}:roles/orders-api`,
    'arn:aws:iam::210987654321:roles/orders',
    `arn:aws:iam::${A}:users/orders`,
    `arn:aws:iam::${A}:role/*`,
    'orders',
  ]) {
    t.same(entryOf(name), { entry: undefined, refusal: undefined, warnings: [] }, name)
  }
})

t.test('a user that differs in case only is reported', async t => {
  t.match(entryOf(`arn:aws:iam::${A}:role/Orders`), {
    entry: undefined,
    refusal: undefined,
    warnings: [/differs in upper and lower case only/],
  })
})

t.test('a new user has the name that was given, without a session name', async t => {
  t.equal(nameNewEntry(`arn:aws:iam::${A}:role/team/orders`), `arn:aws:iam::${A}:role/team/orders`)
  t.equal(nameNewEntry(`arn:aws:sts::${A}:assumed-role/orders/alice`), ORDERS)
})

t.test('a grant adds what is missing, once', async t => {
  t.same(planGrant(undefined, [read, read]), { change: 'added', roles: [read], before: null, after: [read] })
  const entry = { name: ORDERS, roles: [read], clientSource: undefined }
  t.same(planGrant(entry, [read, write]), { change: 'changed', roles: [write], before: [read], after: [read, write] })
  t.match(planGrant(entry, [read]), { change: 'none', roles: [], after: [read] })
})

t.test('a revocation takes roles that the user has, or drops it', async t => {
  const entry = { name: ORDERS, roles: [read, write], clientSource: undefined }
  t.match(planRevocation(entry, [read, read]), { change: 'changed', roles: [read], after: [write] })
  t.match(planRevocation(entry, 'all'), { change: 'removed', roles: [read, write], after: null })
  t.equal(
    planRevocation(entry, [{ role: 'reed', db: 'app' }]),
    `the user ${ORDERS} does not have reed@app; it has read@app, readWrite@app`,
  )
  t.equal(planRevocation(undefined, 'all'), 'no user of $external is this principal')
})

t.test('lists of roles are compared in any order', async t => {
  t.ok(hasSameRoles([read, write], [write, read]))
  t.ok(hasSameRoles(null, null))
  t.notOk(hasSameRoles(null, []))
  t.notOk(hasSameRoles([read], [read, write]))
  t.equal(formatRoles([]), 'no roles')
})
