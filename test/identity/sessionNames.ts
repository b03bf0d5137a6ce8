import t from 'tap'
import { createSessionNameHash, readSessionName } from '../../src/identity/sessionNames.js'
import { Secret } from '../../src/log.js'

const hide = createSessionNameHash(new Secret('0123456789abcdefghij'))
const ALICE = 'alice.b+c=d,e@example.com'

t.test('names of sessions and federated users are hashed wherever they are, and nothing else changes', async t => {
  const role = 'arn:aws:sts::123456789012:assumed-role/app/'
  const federated = 'arn:aws-cn:sts::123456789012:federated-user/'
  const texts = [
    `{"arn":"${role}${ALICE}"}`,
    `{"arn":"${federated}${ALICE}"}`,
    `{"principalId":"AROA1234567890ABCDEF:${ALICE}"}`,
    `{"principalId":"123456789012:${ALICE}"}`,
    `the denial session ${role}${ALICE}, and more`,
    `it was ${role}${ALICE}. Then`,
    `${role}${ALICE}`,
  ]
  const hashes = new Set<string>()
  for (const text of texts) {
    const hidden = hide(text)
    t.notMatch(hidden, /alice|example/, text)
    const [hash] = /hash-[0-9a-f]{32}/.exec(hidden) ?? []
    t.equal(hidden, text.replace(ALICE, hash ?? ''))
    hashes.add(hash ?? '')
    t.equal(hide(hidden), hidden, 'a hash stays')
  }
  t.equal(hashes.size, 1, 'one name has one hash')
})

t.test('ARNs of users and roles, ids and other texts stay', async t => {
  for (const text of [
    'arn:aws:iam::123456789012:user/alice',
    'arn:aws:iam::123456789012:role/path/app',
    'arn:aws:iam::123456789012:root',
    '{"principalId":"AIDA1234567890ABCDEF","account":"123456789012"}',
    '10.0.0.1:27017 at 2026-08-13T12:00:00Z',
    '{"port":12345,"seq":123456789012,"ms":{"sts":1}}',
  ]) {
    t.equal(hide(text), text)
  }
})

t.test('another key gives another hash', async t => {
  const other = createSessionNameHash(new Secret('another-key-of-20-chars'))
  const arn = 'arn:aws:sts::123456789012:assumed-role/app/alice'
  t.not(other(arn), hide(arn))
})

t.test('the name of a session, as other texts have it', async t => {
  const role = { kind: 'assumed-role', arn: `arn:aws:sts::123456789012:assumed-role/app/${ALICE}` } as const
  const federated = { kind: 'federated-user', arn: `arn:aws:sts::123456789012:federated-user/${ALICE}` } as const
  t.equal(readSessionName(role, undefined), ALICE)
  t.equal(readSessionName(federated, undefined), ALICE)
  t.equal(hide(role.arn), role.arn.replace(ALICE, readSessionName(role, hide) ?? ''))
  t.equal(readSessionName(federated, hide), readSessionName(role, hide))
  for (const kind of ['user', 'root'] as const) {
    t.equal(readSessionName({ kind, arn: `arn:aws:iam::123456789012:${kind}/alice` }, undefined), undefined)
  }
})
