/** Diagnoses of DNS, TCP and TLS between this machine and the proxy. */
import { type Diagnosis, failure, formatSpan, ok, warning } from './diagnosis.js'

/** `code`: of the system or of DNS, such as ENOTFOUND; ETIMEDOUT if there was no answer in time. */
export type LookupEvidence = { addresses: readonly string[] } | { code: string }

/** `isNameless`: the host is an IP address, so no name was looked up. */
export function diagnoseLookup(evidence: LookupEvidence, isNameless: boolean): Diagnosis {
  if (isNameless) return ok('is an IP address, which needs no DNS')
  if ('addresses' in evidence) {
    const { addresses } = evidence
    return addresses.length === 0 ? failure(UNKNOWN_NAME) : ok(addresses.slice(0, MAX_ADDRESSES).join(', '))
  }
  const { code } = evidence
  if (code === 'ENOTFOUND' || code === 'ENODATA') return failure(`${UNKNOWN_NAME} (${code})`)
  return failure(`DNS does not answer (${code}); check the DNS server and the network of this machine`)
}

const MAX_ADDRESSES = 8
const UNKNOWN_NAME = 'DNS does not know this name; correct the host, or use the DNS server or VPN that knows it'

/** Undefined if the connection was established. */
export function diagnoseConnect(code: string | undefined): Diagnosis {
  if (code === undefined) return ok('connected')
  return failure(`${CONNECT_PROBLEMS[code] ?? 'the connection fails; check the network'} (${code})`)
}

const NO_ROUTE =
  'no packet comes back; open the port in firewalls, security groups and routes between this machine and it'
const CONNECT_PROBLEMS: Readonly<Record<string, string>> = {
  ECONNREFUSED: 'nothing listens there; correct the port, or start the proxy',
  ETIMEDOUT: NO_ROUTE,
  EHOSTUNREACH: NO_ROUTE,
  ENETUNREACH: 'this machine has no route to that address; check its network and VPN',
  ECONNRESET: 'the connection is reset at once; a load balancer without a healthy target does this',
}

/** What a TLS handshake showed. The certificate was not required to be valid. */
export type TlsEvidence =
  | {
      is: 'established'
      protocol: string
      /** Why verification failed; undefined if it succeeded. */
      problem: string | undefined
      certificate: CertificateFacts
    }
  | { is: 'failed'; code: string; speaksPlain: boolean }

/** Dates in milliseconds since 1970. */
export type CertificateFacts = { names: readonly string[]; issuer: string; validFrom: number; validTo: number }

export type TlsExpectation = {
  /** The name that the certificate must have. */
  host: string
  verify: 'full' | 'chain' | 'none'
  hasAuthority: boolean
  /** Milliseconds since 1970. */
  now: number
}

/** A certificate that expires within this time is a warning. Milliseconds. */
const EXPIRES_SOON_MS = 14 * 24 * 3600_000

/** Diagnoses the handshake with a server that should speak TLS. */
export function diagnoseTls(evidence: TlsEvidence, expectation: TlsExpectation): Diagnosis {
  if (evidence.is === 'failed') return diagnoseFailedHandshake(evidence)
  const { problem, certificate, protocol } = evidence
  if (problem !== undefined && expectation.verify !== 'none') {
    return failure(describeCertificateProblem(problem, certificate, expectation))
  }
  const remainingMS = certificate.validTo - expectation.now
  const expiry = new Date(certificate.validTo)
  if (problem !== undefined)
    return warning(`${protocol}, but the options of the connection string turn its verification off (${problem})`)
  if (remainingMS < EXPIRES_SOON_MS) {
    return warning(
      `${protocol}, but the certificate of the proxy expires in ${formatSpan(remainingMS)}; its operator must renew it`,
    )
  }
  const until = Number.isNaN(expiry.getTime()) ? '' : `, certificate valid until ${expiry.toISOString().slice(0, 10)}`
  return ok(`${protocol}${until}`)
}

function diagnoseFailedHandshake({ code, speaksPlain }: { code: string; speaksPlain: boolean }): Diagnosis {
  if (speaksPlain) {
    return failure('the server speaks no TLS on this port; remove tls=true, or let its operator set tls.certFile')
  }
  if (CLIENT_CERTIFICATE.test(code)) return failure(describeMissingCertificate(code))
  if (code === 'ETIMEDOUT') return failure('the handshake gets no answer; is this the port of the proxy?')
  return failure(
    `the handshake fails (${code}); check that the port is that of the proxy, and that nothing in between intercepts TLS`,
  )
}

const CLIENT_CERTIFICATE =
  /ALERT_(CERTIFICATE_REQUIRED|BAD_CERTIFICATE|UNKNOWN_CA|CERTIFICATE_UNKNOWN|HANDSHAKE_FAILURE)/

const describeMissingCertificate = (code: string): string =>
  `the server requires a client certificate that it trusts (${code}); add tlsCertificateKeyFile=FILE`

/**
 * Why a hello failed, although the connection had been established; undefined if the code says nothing. In TLS 1.3 a server
 * refuses a client certificate after the handshake.
 */
export function diagnoseHelloFailure(
  code: string,
  { isTls, speaksTls }: { isTls: boolean; speaksTls: boolean },
): Diagnosis {
  if (!isTls && speaksTls) return failure('the server speaks TLS on this port; add tls=true')
  if (CLIENT_CERTIFICATE.test(code)) return failure(describeMissingCertificate(code))
  if (code === 'ETIMEDOUT') {
    return failure('the server does not answer; it is no MongoDB or proxy, or its MongoDB cannot be reached')
  }
  return failure(`the server answers no hello (${code}); check that the port is that of the proxy`)
}

/** Codes of a chain that ends at an authority that is not trusted. */
const UNTRUSTED = /SELF_SIGNED|UNABLE_TO_(GET|VERIFY)|CERT_UNTRUSTED/
const MAX_NAMES = 5

function describeCertificateProblem(
  code: string,
  { names, issuer, validFrom, validTo }: CertificateFacts,
  { host, hasAuthority, now }: TlsExpectation,
): string {
  if (code === 'ERR_TLS_CERT_ALTNAME_INVALID') {
    const list = names.slice(0, MAX_NAMES).join(', ') || 'no name'
    return `the certificate is for ${list}, not for ${host}; connect with a name of the certificate, or let its operator add this one`
  }
  if (code === 'CERT_HAS_EXPIRED') {
    const since = Number.isNaN(validTo) ? '' : ` ${formatSpan(now - validTo)} ago`
    return `the certificate has expired${since}; its operator must renew it (or the clock of this machine is wrong)`
  }
  if (code === 'CERT_NOT_YET_VALID') {
    return `the certificate is valid from ${new Date(validFrom).toISOString()}; check the clock of this machine`
  }
  if (UNTRUSTED.test(code)) {
    const remedy = hasAuthority
      ? 'tlsCAFile holds another authority; ask its operator for the right one'
      : 'add tlsCAFile=FILE with that authority'
    return `the certificate was issued by ${issuer || 'an authority without a name'}, which is not trusted (${code}); ${remedy}`
  }
  return `the certificate is not valid (${code})`
}
