/**
 * A throw-away certificate authority and server certificates for this machine, without OpenSSL.
 *
 *     Certificate     SEQUENCE { TBSCertificate, algorithm, BIT STRING signature }
 *     TBSCertificate  SEQUENCE { [0] version, serial, algorithm, issuer, validity, subject, public key, [3] extensions }
 *     each element    tag | length | contents                                                      DER, X.690
 *
 * RFC 5280 (certificates), RFC 5758 (ecdsa-with-SHA256). Node can parse certificates, but not create them. Libraries that
 * can bring some twenty packages, or a second implementation of TLS.
 */
import { createHash, generateKeyPairSync, type KeyObject, randomBytes, sign } from 'node:crypto'

/** PEM texts. */
export type CertificateAndKey = { cert: string; key: string }

export type Certificates = {
  /** The certificate of the authority, for clients. Its key is not kept. */
  ca: string
  /** For `localhost`, `127.0.0.1` and `::1`. */
  server: CertificateAndKey
  /** A second certificate with its own key, of the same authority, to rehearse a change of certificates. */
  nextServer: CertificateAndKey
}

const DAYS = 30

/** Creates certificates that are valid for 30 days from `now`, in ms since 1970. */
export function createCertificates(now = Date.now()): Certificates {
  const ca: Issuer = { name: 'mongo-iam-proxy-sandbox CA', ...generateKeyPairSync('ec', { namedCurve: 'P-256' }) }
  const createServer = (name: string): CertificateAndKey => {
    const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
    const cert = createCertificate({ subject: name, publicKey, issuer: ca, isCA: false, now })
    return { cert, key: privateKey.export({ type: 'pkcs8', format: 'pem' }) as string }
  }
  return {
    ca: createCertificate({ subject: ca.name, publicKey: ca.publicKey, issuer: ca, isCA: true, now }),
    server: createServer('sandbox server 1'),
    nextServer: createServer('sandbox server 2'),
  }
}

type Issuer = { name: string; publicKey: KeyObject; privateKey: KeyObject }
type CertificateOptions = { subject: string; publicKey: KeyObject; issuer: Issuer; isCA: boolean; now: number }

function createCertificate({ subject, publicKey, issuer, isCA, now }: CertificateOptions): string {
  const algorithm = der(SEQUENCE, oid('1.2.840.10045.4.3.2')) // ecdsa-with-SHA256
  const tbs = der(
    SEQUENCE,
    der(0xa0, integer(Buffer.from([2]))), // version 3
    integer(Buffer.concat([Buffer.from([1]), randomBytes(15)])),
    algorithm,
    commonName(issuer.name),
    der(SEQUENCE, utcTime(now - 3_600_000), utcTime(now + DAYS * 86_400_000)),
    commonName(subject),
    publicKey.export({ type: 'spki', format: 'der' }),
    der(0xa3, der(SEQUENCE, ...(isCA ? authorityExtensions(publicKey) : serverExtensions(publicKey, issuer)))),
  )
  const certificate = der(SEQUENCE, tbs, algorithm, bitString(0, sign('sha256', tbs, issuer.privateKey)))
  const lines = certificate.toString('base64').match(/.{1,64}/g) ?? []
  return `-----BEGIN CERTIFICATE-----\n${lines.join('\n')}\n-----END CERTIFICATE-----\n`
}

function authorityExtensions(publicKey: KeyObject): Buffer[] {
  return [
    extension('2.5.29.19', der(SEQUENCE, der(BOOLEAN, Buffer.from([0xff]))), true), // basicConstraints: a CA
    extension('2.5.29.15', bitString(1, Buffer.from([0x06])), true), // keyUsage: keyCertSign, cRLSign
    extension('2.5.29.14', der(OCTET_STRING, keyIdentifier(publicKey))),
  ]
}

function serverExtensions(publicKey: KeyObject, issuer: Issuer): Buffer[] {
  const names = der(
    SEQUENCE,
    der(DNS_NAME, Buffer.from('localhost')),
    der(IP_ADDRESS, Buffer.from([127, 0, 0, 1])),
    der(IP_ADDRESS, Buffer.from([...Array(15).fill(0), 1])),
  )
  return [
    extension('2.5.29.19', der(SEQUENCE), true), // basicConstraints: no CA
    extension('2.5.29.15', bitString(7, Buffer.from([0x80])), true), // keyUsage: digitalSignature
    extension('2.5.29.37', der(SEQUENCE, oid('1.3.6.1.5.5.7.3.1'))), // extKeyUsage: serverAuth
    extension('2.5.29.17', names), // subjectAltName
    extension('2.5.29.14', der(OCTET_STRING, keyIdentifier(publicKey))),
    // Python 3.13 rejects certificates without an authorityKeyIdentifier.
    extension('2.5.29.35', der(SEQUENCE, der(KEY_IDENTIFIER, keyIdentifier(issuer.publicKey)))),
  ]
}

const [BOOLEAN, INTEGER, BIT_STRING, OCTET_STRING, OBJECT_IDENTIFIER] = [0x01, 0x02, 0x03, 0x04, 0x06]
const [UTF8_STRING, UTC_TIME, SEQUENCE, SET] = [0x0c, 0x17, 0x30, 0x31]
/** Context-specific tags: the choices of GeneralName, and the first field of AuthorityKeyIdentifier. */
const [DNS_NAME, IP_ADDRESS, KEY_IDENTIFIER] = [0x82, 0x87, 0x80]

function der(tag: number, ...contents: readonly Buffer[]): Buffer {
  const body = Buffer.concat(contents)
  const size = body.length
  const length = size < 0x80 ? [size] : size < 0x100 ? [0x81, size] : [0x82, size >> 8, size & 0xff]
  return Buffer.concat([Buffer.from([tag, ...length]), body])
}

/** A positive integer: its first bit must not be set. */
function integer(bytes: Buffer): Buffer {
  return der(INTEGER, bytes)
}

function bitString(unusedBits: number, bytes: Buffer): Buffer {
  return der(BIT_STRING, Buffer.from([unusedBits]), bytes)
}

/** The first two numbers share a byte; the others have seven bits per byte. */
function oid(dotted: string): Buffer {
  const [first = 0, second = 0, ...rest] = dotted.split('.').map(Number)
  const bytes = rest.flatMap(number => {
    const groups = [number & 0x7f]
    for (let left = number >> 7; left > 0; left >>= 7) groups.unshift((left & 0x7f) | 0x80)
    return groups
  })
  return der(OBJECT_IDENTIFIER, Buffer.from([first * 40 + second, ...bytes]))
}

function commonName(name: string): Buffer {
  return der(SEQUENCE, der(SET, der(SEQUENCE, oid('2.5.4.3'), der(UTF8_STRING, Buffer.from(name)))))
}

/** YYMMDDhhmmssZ, which is valid until 2049. */
function utcTime(ms: number): Buffer {
  const digits = new Date(ms).toISOString().replace(/\D/g, '').slice(2, 14)
  return der(UTC_TIME, Buffer.from(`${digits}Z`))
}

function extension(id: string, value: Buffer, critical = false): Buffer {
  const flag = critical ? [der(BOOLEAN, Buffer.from([0xff]))] : []
  return der(SEQUENCE, oid(id), ...flag, der(OCTET_STRING, value))
}

/** Any value that is unique to the key: RFC 5280, section 4.2.1.2. */
function keyIdentifier(key: KeyObject): Buffer {
  return createHash('sha256')
    .update(key.export({ type: 'spki', format: 'der' }))
    .digest()
    .subarray(0, 20)
}
