import type { Document } from 'bson'
import t from 'tap'
import { ChangeAuditor } from '../../src/app/changeAudit.js'
import { parseDirectoryUsers } from '../../src/users/directoryUsers.js'
import { createEventRecorder } from '../support/audit.js'

const ALICE = 'arn:aws:iam::123456789012:user/alice'
const APP = 'arn:aws:iam::123456789012:role/app'
const read = [{ role: 'read', db: 'app' }]
const root = [{ role: 'root', db: 'admin' }]
const user = (name: string, roles: unknown = read, fields: Document = {}): Document => ({
  user: name,
  db: '$external',
  roles,
  ...fields,
})

/** The events of reads with these users, the last read only. */
function record(...reads: Document[][]) {
  const { record, events } = createEventRecorder()
  const auditor = new ChangeAuditor({ record, whenWritten: async () => true })
  const parsed = reads.map(documents => parseDirectoryUsers(documents).entries)
  let seen = 0
  for (const [index, entries] of parsed.entries()) {
    seen = events().length
    auditor.recordDirectory(parsed[index - 1], entries)
  }
  return events().slice(seen)
}

const DBA = { kind: 'database', id: null }

t.test('the users of the first read are loaded, also those that cannot log in', async t => {
  t.match(record([user(ALICE), user('CN=app', root)]), [
    {
      type: 'directory',
      actor: DBA,
      change: 'loaded',
      directoryUser: ALICE,
      arn: ALICE,
      roles: ['read@app'],
      current: 'no restrictions',
    },
    { change: 'loaded', directoryUser: 'CN=app', arn: undefined, roles: ['root@admin'], reason: /not the ARN/ },
  ])
})

t.test('a user that a database administrator adds, changes or removes has its roles before and after', async t => {
  t.match(record([], [user(APP, root)]), [{ change: 'added', actor: DBA, directoryUser: APP, roles: ['root@admin'] }])
  const [changed, ...others] = record([user(ALICE), user(APP)], [user(ALICE), user(APP, root)])
  t.match(changed, { change: 'changed', directoryUser: APP, rolesBefore: ['read@app'], roles: ['root@admin'] })
  t.same([changed?.current, others], [undefined, []])
  t.match(record([user(ALICE)], []), [
    { change: 'removed', directoryUser: ALICE, arn: ALICE, rolesBefore: ['read@app'], roles: [] },
  ])
})

t.test('a change of its restrictions shows them before and after', async t => {
  const restricted = user(ALICE, read, { authenticationRestrictions: [{ clientSource: ['10.0.0.0/8'] }] })
  t.match(record([restricted], [user(ALICE)]), [
    { change: 'changed', previous: '[{"clientSource":["10.0.0.0/8"]}]', current: 'no restrictions' },
  ])
})

t.test('users that became invalid are recorded with the reason', async t => {
  const assumed = 'arn:aws:sts::123456789012:assumed-role/app'
  t.match(record([user(APP)], [user(APP), user(assumed)]), [
    { change: 'changed', directoryUser: APP, reason: /several users of \$external/ },
    { change: 'added', directoryUser: assumed, arn: APP, reason: /several users/ },
  ])
  t.match(record([user(ALICE)], [user(ALICE, 'root')]), [
    { change: 'changed', roles: null, rolesBefore: ['read@app'], reason: /its roles are not a list/ },
  ])
  t.match(record([user(ALICE, 'root')], [user(ALICE)]), [{ change: 'changed', roles: ['read@app'], reason: undefined }])
})

t.test('an equal read records nothing', async t => {
  t.same(record([user(ALICE), user('CN=app')], [user('CN=app'), user(ALICE)]), [])
})
