/**
 * The options of a connection string, and the TLS context that they describe.
 *
 * An option that the proxy would ignore is a problem: an operator who wrote `tlsCAFile` must learn at start that it has no
 * effect.
 */
import { createSecureContext, type SecureContext } from 'node:tls'
import type { ConnectionString } from 'mongodb-connection-string-url'
import { didYouMean } from '../config/nearest.js'
import { errorCode } from '../errors.js'
import { describePath, describeText } from '../redaction.js'

/** `verify`: chain and name, the chain alone, or nothing. */
export type TlsOptions = {
  context: SecureContext
  /** The SNI; undefined: the host of the address. */
  servername: string | undefined
  verify: 'full' | 'chain' | 'none'
  hasClientCertificate: boolean
}

const SUPPORTED_OPTIONS = [
  ...['directConnection', 'replicaSet', 'connectTimeoutMS', 'tls', 'ssl', 'servername', 'tlsCAFile'],
  ...['tlsCertificateKeyFile', 'tlsCertificateKeyFilePassword', 'tlsAllowInvalidCertificates'],
  ...['tlsAllowInvalidHostnames', 'tlsInsecure'],
]
/** Other options of MongoDB. Any other name in a connection string may be a part of its password. */
const OTHER_OPTIONS = [
  ...['authSource', 'authMechanism', 'authMechanismProperties', 'loadBalanced', 'appName', 'compressors', 'journal'],
  ...['heartbeatFrequencyMS', 'localThresholdMS', 'maxConnecting', 'maxIdleTimeMS', 'maxPoolSize', 'minPoolSize'],
  ...['maxStalenessSeconds', 'readConcernLevel', 'readPreference', 'readPreferenceTags', 'retryReads', 'retryWrites'],
  ...['serverSelectionTimeoutMS', 'serverSelectionTryOnce', 'serverMonitoringMode', 'socketTimeoutMS', 'srvMaxHosts'],
  ...['srvServiceName', 'timeoutMS', 'tlsDisableOCSPEndpointCheck', 'uuidRepresentation', 'w', 'waitQueueTimeoutMS'],
  ...['wTimeoutMS', 'zlibCompressionLevel'],
]
/** The names by their form in lower case, since names of options are case-insensitive. */
const KNOWN_OPTIONS = new Map([...SUPPORTED_OPTIONS, ...OTHER_OPTIONS].map(name => [name.toLowerCase(), name]))
const supported = new Set(SUPPORTED_OPTIONS)
/** Options that are often pasted along with a connection string, and what to use instead. */
const UNSUPPORTED_OPTIONS: Record<string, string> = {
  authsource: 'database users come from `users`',
  authmechanism: 'database users come from `users`',
  authmechanismproperties: 'database users come from `users`',
  loadbalanced: 'this version supports a standalone or a replica set',
}

type UriOptions = ReturnType<typeof parseUriOptions>

/** Readers of the options. They append to `problems`. An option may appear once. */
export function parseUriOptions(parsed: ConnectionString, problems: string[]) {
  const values = new Map<string, string>()
  for (const [name, value] of parsed.searchParams) {
    const key = name.toLowerCase()
    const known = KNOWN_OPTIONS.get(key)
    if (known === undefined)
      problems.push(`there is no such option, ${describeText(name)}${didYouMean(name, SUPPORTED_OPTIONS)}`)
    else if (!supported.has(known)) {
      problems.push(`${known}: ${UNSUPPORTED_OPTIONS[key] ?? 'the proxy does not use this option'}; remove it`)
    } else if (values.has(key)) problems.push(`${known}: given twice`)
    else if (value === '') problems.push(`${known}: empty`)
    values.set(key, value)
  }
  const text = (name: string) => values.get(name.toLowerCase()) || undefined
  return {
    text,
    flag: (name: string): boolean | undefined => {
      const value = text(name)
      if (value !== undefined && value !== 'true' && value !== 'false') problems.push(`${name}: expected true or false`)
      return value === undefined ? undefined : value === 'true'
    },
    milliseconds: (name: string): number | undefined => {
      const value = text(name)
      if (value === undefined) return undefined
      // Drivers read 0 as "no timeout". Without one, an unreachable host would hold each login until its deadline.
      if (!/^[1-9]\d{0,6}$/.test(value)) problems.push(`${name}: expected milliseconds, 1 to 9999999`)
      return Number(value)
    },
  }
}

export type TlsParserOptions = {
  /** TLS is on unless an option turns it off, as with `mongodb+srv`. */
  byDefault: boolean
  /** Returns the bytes of a file, or throws. */
  readFile: (path: string) => Buffer
  problems: string[]
}

/** Undefined if TLS is off or if there are problems. */
export function parseTlsOptions(
  options: UriOptions,
  { byDefault, readFile, problems }: TlsParserOptions,
): TlsOptions | undefined {
  const isEnabled = parseTlsSwitch(options, problems) ?? byDefault
  const verify = parseVerification(options, problems)
  const servername = options.text('servername')
  const passphrase = options.text('tlsCertificateKeyFilePassword')
  if (!isEnabled) {
    const ineffective = ['tlsCAFile', 'tlsCertificateKeyFile', 'servername', 'tlsCertificateKeyFilePassword'].filter(
      name => options.text(name),
    )
    if (ineffective.length > 0) problems.push(`${ineffective.join(', ')}: has no effect without tls=true`)
    return undefined
  }
  const [ca, clientCertificate] = ['tlsCAFile', 'tlsCertificateKeyFile'].map(name => {
    const path = options.text(name)
    try {
      return path === undefined ? undefined : readFile(path)
    } catch (thrown) {
      problems.push(`${name}: ${describePath(path)} cannot be read (${errorCode(thrown) ?? 'no code'})`)
      return undefined
    }
  })
  const context = createContext({ ca, clientCertificate, passphrase }, problems)
  return context && { context, servername, verify, hasClientCertificate: clientCertificate !== undefined }
}

/** Whether an option turns TLS on or off. */
export function parseTlsSwitch(options: UriOptions, problems: string[]): boolean | undefined {
  const [tls, ssl] = [options.flag('tls'), options.flag('ssl')]
  if (tls !== undefined && ssl !== undefined && tls !== ssl) problems.push('tls and ssl contradict each other')
  return tls ?? ssl
}

export function parseVerification(options: UriOptions, problems: string[]): TlsOptions['verify'] {
  const insecure = options.flag('tlsInsecure')
  const allowInvalidCertificates = options.flag('tlsAllowInvalidCertificates')
  const allowInvalidHostnames = options.flag('tlsAllowInvalidHostnames')
  if (insecure !== undefined && (allowInvalidCertificates !== undefined || allowInvalidHostnames !== undefined)) {
    problems.push(
      'tlsInsecure stands for tlsAllowInvalidCertificates and tlsAllowInvalidHostnames: give one or the other',
    )
  }
  if (insecure ?? allowInvalidCertificates) return 'none'
  return allowInvalidHostnames ? 'chain' : 'full'
}

type ContextFiles = {
  ca: Buffer | undefined
  /** Certificate and key in one file. */
  clientCertificate: Buffer | undefined
  passphrase: string | undefined
}

function createContext(
  { ca, clientCertificate, passphrase }: ContextFiles,
  problems: string[],
): SecureContext | undefined {
  try {
    return createSecureContext({
      ...(ca && { ca }),
      ...(clientCertificate && { cert: clientCertificate, key: clientCertificate }),
      ...(passphrase !== undefined && { passphrase }),
    })
  } catch (thrown) {
    problems.push(`tlsCAFile or tlsCertificateKeyFile: TLS cannot use it (${errorCode(thrown) ?? 'no code'})`)
    return undefined
  }
}
