/** The certificates that the configuration names, and when they expire. */
import { X509Certificate } from 'node:crypto'
import type { Config } from '../config/load.js'
import type { ReadFile } from '../config/reading.js'
import { readTlsFiles } from '../upstream/uriProtection.js'

/** What a certificate is for. `upstream` ones are those of `upstream.uri`, `admin` ones those of `upstream.admin.uri`. */
export type CertificateRole =
  | 'server'
  | 'client CA'
  | 'upstream client'
  | 'upstream CA'
  | 'upstream admin client'
  | 'upstream admin CA'

export type CertificateFile = {
  file: string
  role: CertificateRole
  /** The setting that names the file. */
  setting: string
  /** Milliseconds since 1970. */
  expiresAt: number
  /** Identifies the contents. */
  fingerprint: string
}

export type CertificateStatus = {
  file: string
  role: CertificateRole
  setting: string
  expiresAt: Date
  daysLeft: number
}

const DAY_MS = 86_400_000
const BLOCK = /-----BEGIN (?:TRUSTED |X509 )?CERTIFICATE-----[^-]*-----END (?:TRUSTED |X509 )?CERTIFICATE-----/g

/** The certificates of the listener. A reload puts new ones into effect. */
export function readServerCertificates({ tls }: Pick<Config, 'tls'>): CertificateFile[] {
  if (!tls) return []
  return [
    ...describeFile(tls.certFile, tls.cert, { role: 'server', setting: 'tls.certFile' }),
    ...describeFile(tls.clientCAFile, tls.clientCA, { role: 'client CA', setting: 'tls.clientCAFile' }),
  ]
}

/**
 * The certificates that the connection strings name. New ones take effect with a restart. Files that cannot be read are left
 * out, because reading the connection string reports them.
 */
export function readUpstreamCertificates(
  { upstream: { uri, admin } }: Pick<Config, 'upstream'>,
  readFile: ReadFile,
): CertificateFile[] {
  const read = (path: string | undefined): string | undefined => {
    try {
      return path === undefined ? undefined : readFile(path).bytes.toString('latin1')
    } catch {
      return undefined
    }
  }
  const own = readTlsFiles(uri)
  const administrative = admin && readTlsFiles(admin)
  const rows = [
    [own.clientCertificate, 'upstream client', 'upstream.uri'],
    [own.authority, 'upstream CA', 'upstream.uri'],
    [administrative?.clientCertificate, 'upstream admin client', 'upstream.admin.uri'],
    [administrative?.authority, 'upstream admin CA', 'upstream.admin.uri'],
  ] as const
  return rows.flatMap(([file, role, setting]) => describeFile(file, read(file), { role, setting }))
}

/** Every certificate with the time that is left, the one that expires first at the beginning. */
export function listCertificates(files: readonly CertificateFile[], now: number): CertificateStatus[] {
  return [...files]
    .sort((a, b) => a.expiresAt - b.expiresAt)
    .map(({ file, role, setting, expiresAt }) => ({
      file,
      role,
      setting,
      expiresAt: new Date(expiresAt),
      daysLeft: daysUntil(expiresAt, now),
    }))
}

/** Whole days, rounded down: 0 on the last day, negative after it. */
export const daysUntil = (expiresAt: number, now: number): number => Math.floor((expiresAt - now) / DAY_MS)

/** The settings whose certificate files changed. */
export function findRenewed(before: readonly CertificateFile[], after: readonly CertificateFile[]): string[] {
  const known = new Map(before.map(({ role, fingerprint }) => [role, fingerprint]))
  const renewed = after.filter(({ role, fingerprint }) => known.has(role) && known.get(role) !== fingerprint)
  return [...new Set(renewed.map(({ setting }) => setting))]
}

function describeFile(
  file: string | undefined,
  pem: string | undefined,
  { role, setting }: Pick<CertificateFile, 'role' | 'setting'>,
): CertificateFile[] {
  const certificates = pem === undefined ? [] : parsePem(pem)
  if (file === undefined || certificates.length === 0) return []
  const times = certificates.map(({ validTo }) => Date.parse(validTo))
  // A chain works until its first certificate expires, and a list of authorities as long as one of them is left.
  const expiresAt = role.endsWith('CA') ? Math.max(...times) : Math.min(...times)
  const fingerprint = certificates.map(({ fingerprint256 }) => fingerprint256).join()
  return [{ file, role, setting, expiresAt, fingerprint }]
}

/** The certificates in a PEM text, which may hold a key as well. Blocks that are not valid are left out. */
function parsePem(pem: string): X509Certificate[] {
  return (pem.match(BLOCK) ?? []).flatMap(block => {
    try {
      return [new X509Certificate(block)]
    } catch {
      return []
    }
  })
}
