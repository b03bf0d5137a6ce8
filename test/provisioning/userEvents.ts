import t, { type Test } from 'tap'
import { Fault } from '../../src/errors.js'
import { Secret } from '../../src/log.js'
import { prune } from '../../src/provisioning/prune.js'
import type { AdminClient } from '../../src/upstream/admin.js'
import { createEventRecorder } from '../support/audit.js'
import { faultOfAsync } from '../support/faults.js'
import { arnOf, DATABASE, DAY_MS, SECRET, startProvisioning } from '../support/provisioning.js'

const reads = [{ role: 'read', db: 'app' }]
const writes = [{ role: 'readWrite', db: 'app' }]
const orders = { arn: arnOf('orders'), roles: reads }
const user = `${orders.arn}@${DATABASE}`

/** A MongoDB with provisioners whose changes are recorded. */
async function startRecorded(t: Test) {
  const { record, events } = createEventRecorder()
  const provisioning = await startProvisioning(t)
  const { make, partsOf } = provisioning
  return {
    ...provisioning,
    make: (changes: Parameters<typeof make>[0] = {}) => make({ record, ...changes }),
    partsOf: (changes: Parameters<typeof partsOf>[0] = {}) => partsOf({ record, ...changes }),
    events,
  }
}

t.test('a user that is created, gets other roles and is dropped has an event of each with its roles', async t => {
  const { make, events } = await startRecorded(t)
  const provisioner = make()
  await provisioner.ensureUser(orders)
  await provisioner.ensureUser(orders)
  await provisioner.ensureUser({ ...orders, roles: writes })
  await provisioner.syncRoles(() => undefined)
  t.match(events(), [
    { type: 'user.created', outcome: 'success', actor: { kind: 'proxy' }, user, arn: orders.arn, roles: ['read@app'] },
    { type: 'user.updated', user, rolesBefore: ['read@app'], roles: ['readWrite@app'] },
    { type: 'user.dropped', user, roles: ['readWrite@app'], reason: 'its principal has no roles any more' },
  ])
  t.equal(events().length, 3)
})

t.test('a new password has an event without roles before it', async t => {
  const { make, clock, events } = await startRecorded(t)
  const provisioner = make()
  await provisioner.ensureUser(orders)
  clock.now += DAY_MS
  await provisioner.ensureUser(orders)
  t.match(events()[1], { type: 'user.updated', user, roles: ['read@app'], reason: 'new password' })
  t.notOk('rolesBefore' in (events()[1] ?? {}))
})

t.test('a change that MongoDB refuses, or does not answer, has an event that it failed', async t => {
  const { make, partsOf, events } = await startRecorded(t)
  const { runCommand: run } = partsOf()
  const failing =
    (name: string, fail: () => never | object): AdminClient['runCommand'] =>
    (command, db) =>
      name in command ? Promise.resolve().then(fail) : run(command, db)
  await make({ runCommand: failing('createUser', () => ({ ok: 0, code: 13 })) })
    .ensureUser(orders)
    .catch(() => {})
  t.match(events(), [
    { type: 'user.created', outcome: 'failed', user, code: 13, reason: /refused to create or update/ },
  ])
  await make().ensureUser(orders)
  const unreachable = () => {
    throw new Fault('upstream/unreachable')
  }
  const provisioner = make({ runCommand: failing('updateUser', unreachable) })
  t.equal(
    (await faultOfAsync(() => provisioner.ensureUser({ ...orders, roles: writes })))?.kind,
    'upstream/unreachable',
  )
  const failed = { outcome: 'failed', rolesBefore: ['read@app'], roles: ['readWrite@app'], reason: /unreachable/ }
  t.match(events()[2], { type: 'user.updated', ...failed })
  t.equal(events().length, 3)
})

t.test('of replicas that create a user at the same time, one records it', async t => {
  const { make, events } = await startRecorded(t)
  await Promise.all([make(), make(), make()].map(replica => replica.ensureUser(orders)))
  t.equal(events().filter(({ type }) => type === 'user.created').length, 1)
})

t.test('a user that the server cannot mark is recorded as created and dropped', async t => {
  const { make, partsOf, events } = await startRecorded(t)
  const { runCommand: run } = partsOf()
  const runCommand: AdminClient['runCommand'] = ({ customData: _, ...command }, db) => run(command, db)
  await faultOfAsync(() => make({ runCommand }).ensureUser(orders))
  t.match(events(), [{ type: 'user.created' }, { type: 'user.dropped', roles: ['read@app'], reason: /customData/ }])
})

t.test('a role for one collection is recorded when it is created and when it is dropped', async t => {
  const { make, partsOf, events } = await startRecorded(t)
  const roles = [{ role: 'read', db: 'app', collection: 'orders' }]
  const role = 'mongo-iam-proxy/default/read/orders@app'
  const provisioner = make()
  await provisioner.ensureUser({ ...orders, roles })
  await provisioner.ensureUser({ arn: arnOf('second'), roles })
  await prune(partsOf(), () => undefined)
  t.match(
    events().filter(({ type }) => type.startsWith('role.')),
    [
      { type: 'role.created', role, actor: { kind: 'proxy' } },
      { type: 'role.dropped', role },
    ],
  )
  t.match(
    events().filter(({ type }) => type === 'user.dropped'),
    [
      { roles: [role], reason: /no rule/ },
      { roles: [role], reason: /no rule/ },
    ],
  )
})

t.test('a password of a new master secret is recorded', async t => {
  const { make, partsOf, events } = await startRecorded(t)
  await make().ensureUser(orders)
  const secrets = [new Secret('the next master secret, and as long as that'), SECRET]
  await prune(partsOf({ secrets }), () => reads)
  t.match(events()[1], { type: 'user.updated', roles: ['read@app'], reason: 'new password' })
})
