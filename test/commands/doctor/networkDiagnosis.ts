import t from 'tap'
import {
  diagnoseConnect,
  diagnoseHelloFailure,
  diagnoseLookup,
  diagnoseTls,
  type TlsEvidence,
} from '../../../src/commands/doctor/networkDiagnosis.js'

const NOW = Date.parse('2026-11-30T12:00:00Z')
const DAY = 24 * 3600_000
const certificate = { names: ['a.test', 'b.test'], issuer: 'Our CA', validFrom: NOW - DAY, validTo: NOW + 90 * DAY }
const expectation = { host: 'mongo.test', verify: 'full', hasAuthority: false, now: NOW } as const
const established = (problem?: string, more = {}): TlsEvidence => ({
  is: 'established',
  protocol: 'TLSv1.3',
  problem,
  certificate: { ...certificate, ...more },
})

t.test('DNS: an unknown name is another problem than a DNS server that does not answer', async t => {
  t.match(diagnoseLookup({ code: 'ENOTFOUND' }, false), { level: 'failure', text: /does not know this name/ })
  t.match(diagnoseLookup({ addresses: [] }, false), { level: 'failure', text: /does not know this name/ })
  for (const code of ['EAI_AGAIN', 'ETIMEDOUT']) {
    t.match(diagnoseLookup({ code }, false), { level: 'failure', text: /DNS does not answer/ })
  }
  t.same(diagnoseLookup({ addresses: ['10.0.0.1', '::1'] }, false), { level: 'ok', text: '10.0.0.1, ::1' })
  t.match(diagnoseLookup({ addresses: ['10.0.0.1'] }, true), { level: 'ok', text: /needs no DNS/ })
})

t.test('TCP: the remedy depends on the code', async t => {
  t.equal(diagnoseConnect(undefined).level, 'ok')
  for (const [code, text] of [
    ['ECONNREFUSED', /nothing listens there; correct the port/],
    ['ETIMEDOUT', /open the port in firewalls/],
    ['ENETUNREACH', /no route/],
    ['ECONNRESET', /load balancer/],
    ['EPERM', /the connection fails.*\(EPERM\)/],
  ] as const) {
    t.match(diagnoseConnect(code), { level: 'failure', text }, code)
  }
})

t.test('TLS: each problem of a certificate has its remedy', async t => {
  t.match(diagnoseTls(established(), expectation), { level: 'ok', text: 'TLSv1.3, certificate valid until 2027-02-28' })
  for (const [problem, text] of [
    ['ERR_TLS_CERT_ALTNAME_INVALID', /is for a\.test, b\.test, not for mongo\.test; connect with a name/],
    ['DEPTH_ZERO_SELF_SIGNED_CERT', /issued by Our CA, which is not trusted .*add tlsCAFile=FILE/],
    ['UNABLE_TO_VERIFY_LEAF_SIGNATURE', /not trusted/],
    ['CERT_NOT_YET_VALID', /check the clock of this machine/],
    ['CERT_REVOKED', /not valid \(CERT_REVOKED\)/],
  ] as const) {
    t.match(diagnoseTls(established(problem), expectation), { level: 'failure', text }, problem)
  }
  t.match(diagnoseTls(established('CERT_HAS_EXPIRED', { validTo: NOW - 3600_000 * 5 }), expectation), {
    level: 'failure',
    text: /has expired 5 hours ago; its operator must renew it/,
  })
  t.match(diagnoseTls(established('SELF_SIGNED_CERT_IN_CHAIN'), { ...expectation, hasAuthority: true }), {
    text: /tlsCAFile holds another authority/,
  })
})

t.test('TLS: a certificate that expires soon, and one that is not verified, are warnings', async t => {
  t.match(diagnoseTls(established(undefined, { validTo: NOW + DAY }), expectation), {
    level: 'warning',
    text: /expires in 24 hours/,
  })
  t.match(diagnoseTls(established('CERT_HAS_EXPIRED'), { ...expectation, verify: 'none' }), {
    level: 'warning',
    text: /turn its verification off/,
  })
})

t.test('TLS: a handshake that fails has several reasons', async t => {
  const failed = (code: string, speaksPlain = false) => diagnoseTls({ is: 'failed', code, speaksPlain }, expectation)
  t.match(failed('EPROTO', true), { level: 'failure', text: /speaks no TLS on this port; remove tls=true/ })
  t.match(failed('ERR_SSL_SSLV3_ALERT_HANDSHAKE_FAILURE'), { text: /client certificate.*tlsCertificateKeyFile/ })
  t.match(failed('ETIMEDOUT'), { text: /gets no answer/ })
  t.match(failed('ECONNRESET'), { text: /handshake fails \(ECONNRESET\)/ })
})

t.test('hello: a failure after the connection is one of TLS, or of the port', async t => {
  t.match(diagnoseHelloFailure('ECONNRESET', { isTls: false, speaksTls: true }), { text: /add tls=true/ })
  t.match(diagnoseHelloFailure('ERR_SSL_TLSV13_ALERT_CERTIFICATE_REQUIRED', { isTls: true, speaksTls: false }), {
    text: /requires a client certificate/,
  })
  t.match(diagnoseHelloFailure('ETIMEDOUT', { isTls: false, speaksTls: false }), { text: /does not answer/ })
  t.match(diagnoseHelloFailure('upstream/protocol-error', { isTls: false, speaksTls: false }), {
    text: /check that the port/,
  })
})
