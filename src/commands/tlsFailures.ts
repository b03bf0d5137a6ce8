/** What an operator should do about an error of TLS, by the code that Node.js and OpenSSL give it. */

/** The chain of the certificate ends at an authority that is not trusted. */
const UNTRUSTED = new Set([
  'DEPTH_ZERO_SELF_SIGNED_CERT',
  'SELF_SIGNED_CERT_IN_CHAIN',
  'UNABLE_TO_GET_ISSUER_CERT',
  'UNABLE_TO_GET_ISSUER_CERT_LOCALLY',
  'UNABLE_TO_VERIFY_LEAF_SIGNATURE',
  'CERT_UNTRUSTED',
])

/** `setting`: the connection string whose options apply. */
const ADVICE: Readonly<Record<string, (setting: string) => string>> = {
  CERT_HAS_EXPIRED: () => 'its certificate has expired; renew it at the server',
  ERR_TLS_CERT_ALTNAME_INVALID: setting => `its certificate is for another name; write a name of it in ${setting}`,
  EPROTO: setting =>
    `the server does not speak TLS on this port; remove tls=true from ${setting}, or turn TLS on there`,
  ERR_SSL_WRONG_VERSION_NUMBER: setting =>
    `the server does not speak TLS on this port; remove tls=true from ${setting}, or turn TLS on there`,
}

/** A sentence without a period; undefined if the code is not one of a TLS error. */
export function describeTlsFailure(code: unknown, setting: string): string | undefined {
  if (typeof code !== 'string') return undefined
  if (UNTRUSTED.has(code)) {
    return `its certificate is not trusted (${code}); add tlsCAFile=FILE to ${setting}, with the certificate authority of the server`
  }
  return ADVICE[code]?.(setting)
}

/** The same for an STS host, whose authority must be known to Node.js. `why`: a text that begins with the code. */
export function describeStsTlsFailure(why: string): string | undefined {
  const code = why.split(':', 1)[0] ?? ''
  return UNTRUSTED.has(code)
    ? 'a proxy or a stand-in with a certificate authority of its own answers; name the file of that authority in NODE_EXTRA_CA_CERTS'
    : undefined
}
