import t from 'tap'
import { ConnectionAuditor } from '../../src/app/connectionAudit.js'
import { Fault } from '../../src/errors.js'
import { createTestTrail } from '../support/audit.js'
import { createManualClock } from '../support/clock.js'
import { faultOf, faultOfAsync } from '../support/faults.js'
import { identity, match } from '../support/login.js'

const client = { id: 7, peer: '2001:db8::1:50000' }
const record = {
  accessKeyId: 'AKIASP2TPHJSQH3FJXYZ',
  identity,
  match,
  user: 'alice@admin',
  sts: { host: 'sts.amazonaws.com', requestId: 'f7a1-1' },
  ms: { sts: 12, login: 20 },
}
const upstream = { address: 'db1:27017', localPort: 40_000, connectionId: 4711 }
const info = { metadata: { application: { name: 'orders' }, driver: { name: 'nodejs', version: '7' } } }

function createAuditor({ isFailing = false, onFailure = 'serve' } = {}) {
  const clock = createManualClock()
  const { trail, events } = createTestTrail({ isFailing })
  const auditor = new ConnectionAuditor({
    trail,
    refusesWithoutAudit: () => onFailure === 'refuse',
    configHash: () => 'c0ffee',
    after: clock.after,
  })
  return { auditor, clock, events }
}

t.test('a login names the person, the rule, the call to STS and the connection upstream', async t => {
  const { auditor, events } = createAuditor()
  await auditor.recordLogin(client, { record, info, upstream, kind: 'first' })
  t.match(events(), [
    {
      type: 'login',
      outcome: 'success',
      actor: { kind: 'principal', id: identity.canonical },
      address: '2001:db8::1',
      port: 50_000,
      connection: '0123456789ab-7',
      arn: identity.arn,
      accessKeyId: 'AKIASP2TPHJSQH3FJXYZ',
      principalId: 'AIDAQ',
      account: '123456789012',
      databaseUser: 'alice@admin',
      roles: null,
      rule: { number: 1, text: `${identity.arn} → alice@admin` },
      configHash: 'c0ffee',
      sts: { host: 'sts.amazonaws.com', requestId: 'f7a1-1', cached: false },
      upstream,
      ms: { sts: 12, login: 20 },
      loginKind: 'first',
      appName: 'orders',
      driver: { name: 'nodejs', version: '7' },
    },
  ])
})

t.test('a refusal has its cause, even if nothing but an access key is known', async t => {
  const { auditor, events } = createAuditor()
  const fault = new Fault('sts/refused', 'ExpiredToken', { code: 'ExpiredToken' })
  const refused = { accessKeyId: 'ASIA', ms: {} }
  auditor.recordLoginRefused(client, { record: refused, info: undefined, fault, kind: 'first' })
  auditor.recordLoginRefused(client, { record: { ms: {} }, info, fault: new Fault('sasl/out-of-order'), kind: 'first' })
  const denied = new Fault('login/denied', undefined, { denial: 'accessKeyId ASIA' }).answerAs(fault)
  auditor.recordLoginRefused(client, { record: refused, info, fault: denied, kind: 'first' })
  t.match(events(), [
    { actor: { kind: 'accessKey', id: 'ASIA' }, fault: 'sts/refused', code: 'ExpiredToken', count: 1 },
    { actor: { kind: 'client', id: null }, fault: 'sasl/out-of-order', code: 17 },
    { fault: 'login/denied', denial: 'accessKeyId ASIA', code: 18 },
  ])
})

t.test('a flood of made-up keys gives twenty events and one summary per second', async t => {
  const { auditor, events, clock } = createAuditor()
  const fault = new Fault('sts/refused', 'InvalidClientTokenId', { code: 'InvalidClientTokenId' })
  for (let key = 0; key < 1000; key++) {
    auditor.recordLoginRefused(client, { record: { accessKeyId: `AKIA${key}`, ms: {} }, info, fault, kind: 'first' })
  }
  clock.advance(1000)
  t.equal(events().length, 21)
  t.match(events().at(-1), {
    type: 'login.refused',
    subnet: '2001:db8:0:0::/64',
    fault: 'sts/refused',
    count: 980,
    distinctKeys: 980,
    accessKeyIds: ['AKIA20', 'AKIA21', 'AKIA22', 'AKIA23', 'AKIA24'],
  })
})

t.test('the end of a revoked session names the denial', async t => {
  const { auditor, events } = createAuditor()
  const cause = new Fault('login/denied', undefined, { denial: 'arn …' })
  const fault = new Fault('login/revoked', undefined, { why: 'it is denied', denial: 'arn …' }, cause)
  const bytes = { fromClient: 1, toClient: 2 }
  auditor.recordSessionEnd(client, { record, by: 'proxy', fault, durationMS: 5, bytes })
  auditor.recordSessionEnd(client, { record, by: 'client', durationMS: 5, bytes })
  t.match(events(), [
    { type: 'session.revoked', reason: 'it is denied', cause: 'login/denied', denial: 'arn …' },
    { type: 'session.end', fault: 'login/revoked', by: 'proxy', bytes, durationMS: 5 },
    { type: 'session.end', by: 'client', arn: identity.arn, databaseUser: 'alice@admin' },
  ])
})

t.test('without a trail, logins are served or refused as the setting says', async t => {
  const login = { record, info, upstream, kind: 'first' } as const
  const serving = createAuditor({ isFailing: true }).auditor
  serving.assertAvailable()
  await serving.recordLogin(client, login)
  const refusing = createAuditor({ isFailing: true, onFailure: 'refuse' }).auditor
  t.equal(faultOf(() => refusing.assertAvailable())?.kind, 'audit/unavailable')
  t.equal((await faultOfAsync(() => refusing.recordLogin(client, login)))?.kind, 'audit/unavailable')
})

t.test('refused client certificates are bounded, with the reason and the fingerprint', async t => {
  const { auditor, clock, events } = createAuditor()
  const missing = { code: 'ERR_SSL_PEER_DID_NOT_RETURN_A_CERTIFICATE', fingerprint: undefined }
  auditor.recordCertificateRefused(client, { code: 'CERT_HAS_EXPIRED', fingerprint: 'AB:CD' })
  auditor.recordCertificateRefused(client, { code: 'DEPTH_ZERO_SELF_SIGNED_CERT', fingerprint: 'EF:01' })
  for (let times = 0; times < 1000; times++) auditor.recordCertificateRefused(client, missing)
  clock.advance(1_000)
  t.match(events().slice(0, 3), [
    {
      type: 'certificate.refused',
      outcome: 'refused',
      actor: { kind: 'client', id: null },
      address: '2001:db8::1',
      port: 50_000,
      connection: '0123456789ab-7',
      reason: 'the client certificate has expired',
      code: 'CERT_HAS_EXPIRED',
      fingerprint: 'AB:CD',
      count: 1,
    },
    { reason: 'the client certificate is not trusted', fingerprint: 'EF:01' },
    { reason: 'the client presented no certificate' },
  ])
  t.match(events()[22], { code: missing.code, count: 980, subnet: '2001:db8:0:0::/64', address: null })
  t.equal(events().length, 23)
})

t.test('refused commands are bounded as well', async t => {
  const { auditor, events } = createAuditor()
  for (let times = 0; times < 100; times++) auditor.recordCommandRefused(client, { command: 'logout', record })
  auditor.flush()
  t.equal(events().length, 21)
  t.match(events()[0], { command: 'logout', fault: 'command/forbidden', commands: 1, databaseUser: 'alice@admin' })
  t.match(events().at(-1), { command: 'logout', commands: 80, subnet: '2001:db8:0:0::/64' })
})
