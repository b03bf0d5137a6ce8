import t from 'tap'
import { explainFailure, explainSilence, type ServerCertificate } from '../../src/client/tlsCause.js'

const certificate: ServerCertificate = {
  validFrom: 'Jan  1 00:00:00 2026 GMT',
  validTo: 'Jan  1 00:00:00 2027 GMT',
  checkHost: name => (name === 'proxy.test' ? name : undefined),
}
const at = (time: string, servername?: string) => ({ certificate, servername, now: Date.parse(time) })
const valid = at('2026-06-01T00:00:00Z', 'proxy.test')

t.test('a defect of the certificate is the cause of silence, before anything else', async t => {
  t.equal(
    explainSilence(at('2027-01-01T00:00:00Z', 'other.test')),
    'the certificate of the proxy expired at 2027-01-01T00:00:00.000Z',
  )
  t.match(explainSilence(at('2025-12-31T23:59:59Z')), 'is valid only from 2026-01-01T00:00:00.000Z on')
  t.match(explainSilence({ ...valid, servername: 'other.test' }), /asked for other\.test, and .* has other names/)
  t.match(explainSilence(valid), /^probably the client does not trust the issuer/)
  t.match(explainSilence({ ...valid, servername: undefined }), /^probably/)
})

t.test('an alert is explained by the defect, or by its own meaning', async t => {
  for (const code of ['ERR_SSL_SSLV3_ALERT_CERTIFICATE_EXPIRED', 'ERR_SSL_SSL/TLS_ALERT_CERTIFICATE_EXPIRED']) {
    t.match(explainFailure(code, at('2027-06-01T00:00:00Z')), `${code}: the certificate of the proxy expired at`)
    t.match(explainFailure(code, valid), `${code}: the client says that`, 'the clock of the client may be wrong')
  }
  t.match(explainFailure('ERR_SSL_TLSV1_ALERT_UNKNOWN_CA', valid), /: the client does not trust the issuer/)
  t.match(explainFailure('ERR_SSL_SSLV3_ALERT_BAD_CERTIFICATE', { ...valid, servername: 'x' }), /has other names$/)
})

t.test('other failures are explained whatever the certificate of the proxy', async t => {
  for (const [code, meaning] of [
    ['ERR_SSL_WRONG_VERSION_NUMBER', 'the client does not speak TLS'],
    ['ERR_SSL_HTTP_REQUEST', 'the client speaks HTTP'],
    ['ERR_SSL_UNSUPPORTED_PROTOCOL', 'the client does not offer TLS 1.2 or 1.3'],
    ['ERR_SSL_PEER_DID_NOT_RETURN_A_CERTIFICATE', 'tls.clientCAFile requires one'],
    ['CERT_HAS_EXPIRED', 'the certificate of the client has expired'],
    ['UNABLE_TO_GET_ISSUER_CERT_LOCALLY', 'no authority in tls.clientCAFile'],
  ] as const) {
    t.match(explainFailure(code, at('2027-06-01T00:00:00Z')), new RegExp(`^${code}: .*${meaning}`))
  }
  t.equal(explainFailure('ERR_SSL_ELSE', valid), 'ERR_SSL_ELSE')
})
