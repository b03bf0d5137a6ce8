/**
 * The likely cause of a TLS connection that failed or carried no message. Pure.
 *
 * A client that does not accept the certificate of the proxy sends an alert, or closes the connection during the handshake
 * (Node.js with TLS 1.3) or right after it (Node.js with TLS 1.2). Only the certificate itself says why.
 */
import type { X509Certificate } from 'node:crypto'

export type ServerCertificate = Pick<X509Certificate, 'validFrom' | 'validTo' | 'checkHost'>

export type RejectionContext = {
  certificate: ServerCertificate
  /** The name that the client asked for (SNI). */
  servername: string | undefined
  /** Milliseconds since 1970. */
  now: number
}

/** What the codes of OpenSSL and Node.js mean. The prefix of an alert differs between versions of OpenSSL. */
const MEANINGS: readonly [RegExp, string][] = [
  [/ALERT_CERTIFICATE_EXPIRED$/, 'the client says that the certificate of the proxy has expired'],
  [/ALERT_UNKNOWN_CA$/, 'the client does not trust the issuer of the certificate of the proxy'],
  [/ALERT_(BAD_CERTIFICATE|CERTIFICATE_UNKNOWN)$/, 'the client does not accept the certificate of the proxy'],
  [/(ALERT_PROTOCOL_VERSION|UNSUPPORTED_PROTOCOL)$/, 'the client does not offer TLS 1.2 or 1.3'],
  [/HTTP_REQUEST$/, 'the client speaks HTTP'],
  [/(WRONG_VERSION_NUMBER|PACKET_LENGTH_TOO_LONG|RECORD_LAYER_FAILURE)$/, 'the client does not speak TLS'],
  [/PEER_DID_NOT_RETURN_A_CERTIFICATE$/, 'the client presents no certificate, and tls.clientCAFile requires one'],
  [/^CERT_HAS_EXPIRED$/, 'the certificate of the client has expired'],
  [
    /^(DEPTH_ZERO_SELF_SIGNED_CERT|SELF_SIGNED_CERT_IN_CHAIN|UNABLE_TO_VERIFY_LEAF_SIGNATURE|UNABLE_TO_GET_ISSUER_CERT(_LOCALLY)?)$/,
    'no authority in tls.clientCAFile issued the certificate of the client',
  ],
]
/** The client rejected the certificate of the proxy, which may show the cause. */
const IS_REJECTION = /ALERT_(CERTIFICATE_EXPIRED|BAD_CERTIFICATE|CERTIFICATE_UNKNOWN|UNKNOWN_CA)$/

/** The code of a failed handshake with its meaning, if it is known. */
export function explainFailure(code: string, context: RejectionContext): string {
  const defect = IS_REJECTION.test(code) ? findDefect(context) : undefined
  const meaning = defect ?? MEANINGS.find(([pattern]) => pattern.test(code))?.[1]
  return meaning === undefined ? code : `${code}: ${meaning}`
}

/** Why a client may have closed a connection without an alert and without a message. */
export function explainSilence(context: RejectionContext): string {
  return (
    findDefect(context) ??
    'probably the client does not trust the issuer of the certificate of the proxy, or it is a health check that only does TLS'
  )
}

/** A defect of the certificate that every client, or every client that asks for this name, must reject. */
function findDefect({ certificate, servername, now }: RejectionContext): string | undefined {
  const { validFrom, validTo } = certificate
  if (Date.parse(validTo) <= now) return `the certificate of the proxy expired at ${toTime(validTo)}`
  if (Date.parse(validFrom) > now) return `the certificate of the proxy is valid only from ${toTime(validFrom)} on`
  if (servername !== undefined && certificate.checkHost(servername) === undefined) {
    return `the client asked for ${servername}, and the certificate of the proxy has other names`
  }
  return undefined
}

const toTime = (text: string): string => new Date(text).toISOString()
