import { X509Certificate } from 'node:crypto'
import { readFileSync } from 'node:fs'
import t from 'tap'
import {
  type CertificateFile,
  daysUntil,
  findRenewed,
  listCertificates,
  readServerCertificates,
  readUpstreamCertificates,
} from '../../src/app/certificates.js'
import { Secret } from '../../src/log.js'

const read = (name: string) => readFileSync(new URL(`../support/tls/${name}.pem`, import.meta.url), 'utf8')
const files: Record<string, string> = {
  '/listener.pem': read('listener'),
  '/expired.pem': read('expired'),
  '/client.pem': read('client'),
  '/ca.pem': read('ca'),
  '/cas.pem': `${read('expired')}\n${read('ca')}`,
  '/junk.pem': 'nothing',
}
const readFile = (path: string) => {
  const text = files[path]
  if (text === undefined) throw new Error('ENOENT')
  return { bytes: Buffer.from(text), mode: 0o600 }
}
const expiryOf = (name: string) => Date.parse(new X509Certificate(read(name)).validTo)
const text = (path: string) => files[path] as string
const uri = (options: string) => new Secret(`mongodb://a:b@mongo/?tls=true${options}`)
const upstream = (own: string, admin?: string) => ({
  upstream: { uri: uri(own), admin: admin === undefined ? undefined : uri(admin), topology: undefined },
})

t.test('a chain expires with its first certificate, a list of authorities with its last one', async t => {
  const tls = {
    cert: text('/cas.pem'),
    key: new Secret('key'),
    certFile: '/chain.pem',
    clientCA: text('/cas.pem'),
    clientCAFile: '/cas.pem',
  }
  t.match(readServerCertificates({ tls }), [
    { file: '/chain.pem', role: 'server', setting: 'tls.certFile', expiresAt: expiryOf('expired') },
    { file: '/cas.pem', role: 'client CA', setting: 'tls.clientCAFile', expiresAt: expiryOf('ca') },
  ])
  t.same(readServerCertificates({ tls: undefined }), [])
})

t.test('the certificates of both connection strings are read, whatever the case of the options', async t => {
  const config = upstream(
    '&tlsCAFile=/ca.pem&tlscertificatekeyfile=/client.pem',
    '&TLSCAFILE=/cas.pem&tlsCertificateKeyFile=/expired.pem',
  )
  t.match(readUpstreamCertificates(config, readFile), [
    { file: '/client.pem', role: 'upstream client', setting: 'upstream.uri', expiresAt: expiryOf('client') },
    { file: '/ca.pem', role: 'upstream CA', setting: 'upstream.uri', expiresAt: expiryOf('ca') },
    { file: '/expired.pem', role: 'upstream admin client', expiresAt: expiryOf('expired') },
    { file: '/cas.pem', role: 'upstream admin CA', setting: 'upstream.admin.uri', expiresAt: expiryOf('ca') },
  ])
})

t.test('a file that is missing or holds no certificate has no expiry', async t => {
  t.same(readUpstreamCertificates(upstream(''), readFile), [])
  t.same(readUpstreamCertificates(upstream('&tlsCAFile=/none.pem', '&tlsCAFile=/junk.pem'), readFile), [])
})

t.test('a private key in the same file is not kept', async t => {
  const found = readUpstreamCertificates(upstream('&tlsCertificateKeyFile=/client.pem'), readFile)
  t.notMatch(JSON.stringify(found), /PRIVATE/)
})

const file = (role: CertificateFile['role'], expiresAt: number, fingerprint = 'AA'): CertificateFile => ({
  ...{ file: `/${role}`, role, setting: 'upstream.uri', expiresAt, fingerprint },
})

t.test('the list has the days that are left, the first expiry at the beginning', async t => {
  const day = 86_400_000
  t.same(listCertificates([file('server', 5.5 * day), file('client CA', 0)], day), [
    { file: '/client CA', role: 'client CA', setting: 'upstream.uri', expiresAt: new Date(0), daysLeft: -1 },
    { file: '/server', role: 'server', setting: 'upstream.uri', expiresAt: new Date(5.5 * day), daysLeft: 4 },
  ])
  t.equal(daysUntil(day, 1), 0, 'the last day')
})

t.test('a certificate that another one replaces is renewed', async t => {
  const before = [file('upstream CA', 1), file('upstream client', 1)]
  t.same(findRenewed(before, before), [])
  t.same(findRenewed(before, [file('upstream CA', 2, 'BB'), file('upstream client', 2, 'CC')]), ['upstream.uri'])
  t.same(findRenewed([], before), [], 'a new file is a change of the connection string')
})
