/**
 * The options behind the question mark of a connection string, and TLS from them.
 *
 * Options that would not be honoured are problems, since a forgotten `tlsCAFile` is worse than a message at start.
 */
import { createSecureContext, type SecureContext } from 'node:tls'
import type { ConnectionString } from 'mongodb-connection-string-url'
import { errorCode } from '../errors.js'

/** `verify`: both the chain and the name, the chain alone, or nothing. `certificate`: whether we show one of our own. */
export type TlsOptions = {
  context: SecureContext
  servername: string | undefined
  verify: 'full' | 'chain' | 'none'
  hasClientCertificate: boolean
}

/** What may stand behind the question mark. `true` and `false` are told apart by `flag`, the rest is text. */
const OPTIONS = new Set(
  [
    'directConnection',
    'replicaSet',
    'connectTimeoutMS',
    'tls',
    'ssl',
    'servername',
    'tlsCAFile',
    'tlsCertificateKeyFile',
    'tlsCertificateKeyFilePassword',
    'tlsAllowInvalidCertificates',
    'tlsAllowInvalidHostnames',
    'tlsInsecure',
  ].map(name => name.toLowerCase()),
)
/** Options that people paste along with the rest of a connection string, and why they stay out of this one. */
const ELSEWHERE: Record<string, string> = {
  authsource: 'database users come from `users`',
  authmechanism: 'database users come from `users`',
  authmechanismproperties: 'database users come from `users`',
  loadbalanced: 'this version takes a standalone or a replica set',
}

type UriOptions = ReturnType<typeof parseUriOptions>

/** The options, each at most once, by names without regard to case. */
export function parseUriOptions(parsed: ConnectionString, problems: string[]) {
  const given = new Map<string, string>()
  for (const [name, value] of parsed.searchParams) {
    const key = name.toLowerCase()
    const why = OPTIONS.has(key) ? undefined : (ELSEWHERE[key] ?? 'the proxy does not use this option')
    if (why !== undefined) problems.push(`${name.slice(0, 40)}: ${why}; take it out`)
    else if (given.has(key)) problems.push(`${name}: given twice`)
    else if (value === '') problems.push(`${name}: empty`)
    given.set(key, value)
  }
  const text = (name: string) => given.get(name.toLowerCase()) || undefined
  return {
    text,
    flag: (name: string): boolean | undefined => {
      const value = text(name)
      if (value !== undefined && value !== 'true' && value !== 'false') problems.push(`${name}: wanted true or false`)
      return value === undefined ? undefined : value === 'true'
    },
    milliseconds: (name: string): number | undefined => {
      const value = text(name)
      if (value === undefined) return undefined
      // Without a bound a dead host would hold a login until its deadline; 0 means "for ever" to drivers.
      if (!/^[1-9]\d{0,6}$/.test(value)) problems.push(`${name}: wanted milliseconds, 1 to 9999999`)
      return Number(value)
    },
  }
}

/** `usual`: TLS is on unless it is turned off, as with `mongodb+srv`. */
export function parseTlsOptions(
  options: UriOptions,
  usual: boolean,
  readFile: (path: string) => Buffer,
  problems: string[],
): TlsOptions | undefined {
  const [tls, ssl] = [options.flag('tls'), options.flag('ssl')]
  if (tls !== undefined && ssl !== undefined && tls !== ssl) problems.push('tls and ssl contradict each other')
  const insecure = options.flag('tlsInsecure')
  const anyCertificate = options.flag('tlsAllowInvalidCertificates')
  const anyName = options.flag('tlsAllowInvalidHostnames')
  if (insecure !== undefined && (anyCertificate !== undefined || anyName !== undefined)) {
    problems.push(
      'tlsInsecure stands for tlsAllowInvalidCertificates and tlsAllowInvalidHostnames: give one or the other',
    )
  }
  const files = ['tlsCAFile', 'tlsCertificateKeyFile'] as const
  const servername = options.text('servername')
  const password = options.text('tlsCertificateKeyFilePassword')
  if (!(tls ?? ssl ?? usual)) {
    const idle = [...files, 'servername', 'tlsCertificateKeyFilePassword'].filter(name => options.text(name))
    if (idle.length > 0) problems.push(`${idle.join(', ')}: means nothing without tls=true`)
    return undefined
  }
  const [ca, pair] = files.map(name => {
    const path = options.text(name)
    try {
      return path === undefined ? undefined : readFile(path)
    } catch (thrown) {
      problems.push(`${name}: ${path} cannot be read (${errorCode(thrown) ?? 'no code'})`)
      return undefined
    }
  })
  const context = secured({ ca, pair, password }, problems)
  const verify = (insecure ?? anyCertificate) ? 'none' : anyName ? 'chain' : 'full'
  return context && { context, servername, verify, hasClientCertificate: pair !== undefined }
}

function secured(
  { ca, pair, password }: { ca: Buffer | undefined; pair: Buffer | undefined; password: string | undefined },
  problems: string[],
): SecureContext | undefined {
  try {
    return createSecureContext({
      ...(ca && { ca }),
      ...(pair && { cert: pair, key: pair }),
      ...(password !== undefined && { passphrase: password }),
    })
  } catch (thrown) {
    problems.push(`tlsCAFile or tlsCertificateKeyFile: not what TLS can use (${errorCode(thrown) ?? 'no code'})`)
    return undefined
  }
}
