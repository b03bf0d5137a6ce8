/** What a connection string says about TLS: how it protects its connections, and the files that it names. */
import { ConnectionString } from 'mongodb-connection-string-url'
import type { Secret } from '../log.js'
import { parseTlsSwitch, parseUriOptions, parseVerification, type TlsOptions } from './uriOptions.js'

export type UriProtection = {
  tls: boolean
  verify: TlsOptions['verify']
  /** `tlsCAFile` names the only authorities that are trusted. */
  hasAuthority: boolean
}

/** Undefined if the text is not a connection string. Problems of its options are ignored: they were reported before. */
export function readUriProtection(uri: Secret): UriProtection | undefined {
  const parsed = parse(uri)
  if (!parsed) return undefined
  const problems: string[] = []
  const options = parseUriOptions(parsed, problems)
  return {
    tls: parseTlsSwitch(options, problems) ?? parsed.isSRV,
    verify: parseVerification(options, problems),
    hasAuthority: options.text('tlsCAFile') !== undefined,
  }
}

/** The files with certificates that a connection string names. It is empty if the text is not a connection string. */
export function readTlsFiles(uri: Secret): { authority?: string | undefined; clientCertificate?: string | undefined } {
  const parsed = parse(uri)
  if (!parsed) return {}
  const options = parseUriOptions(parsed, [])
  return { authority: options.text('tlsCAFile'), clientCertificate: options.text('tlsCertificateKeyFile') }
}

function parse(uri: Secret): ConnectionString | undefined {
  try {
    return new ConnectionString(uri.reveal())
  } catch {
    return undefined
  }
}
