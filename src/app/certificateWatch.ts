/**
 * Watches when certificates expire: a warning at start and once a day below 30 days, an error at the expiry and once a day
 * after it. An expired certificate stops every client that verifies it, so its error comes at that very moment.
 */
import type { After } from '../clock.js'
import type { Log } from '../log.js'
import { type CertificateFile, type CertificateStatus, daysUntil, listCertificates } from './certificates.js'

export type CertificateWatchOptions = {
  log: Log
  after: After
  /** Milliseconds since 1970. */
  wallClock(): number
}

const HOUR_MS = 3_600_000
const DAY_MS = 24 * HOUR_MS
const WARNING_MS = 30 * DAY_MS
/** A timer may fire a little early, and the next line is due a day after the one before. */
const REPEAT_MS = DAY_MS - HOUR_MS / 2

type Report = { level: 'warn' | 'error'; at: number }

export class CertificateWatch {
  readonly #options: CertificateWatchOptions
  #files: readonly CertificateFile[] = []
  /** The last line about each certificate. */
  #reports = new Map<string, Report>()
  #cancelCheck = (): void => {}

  constructor(options: CertificateWatchOptions) {
    this.#options = options
  }

  /** Replaces the certificates, at start and after a reload, and reports those that need attention. */
  watch(files: readonly CertificateFile[]): void {
    this.#files = files
    const known = new Set(files.map(keyOf))
    this.#reports = new Map([...this.#reports].filter(([key]) => known.has(key)))
    this.#check()
  }

  list(): CertificateStatus[] {
    return listCertificates(this.#files, this.#options.wallClock())
  }

  /** Seconds left by file; negative after the expiry. A file with two roles has the earlier one. */
  secondsLeft(): Record<string, number> {
    const now = this.#options.wallClock()
    const seconds: Record<string, number> = {}
    for (const { file, expiresAt } of this.#files) {
      seconds[file] = Math.min(seconds[file] ?? Number.POSITIVE_INFINITY, Math.floor((expiresAt - now) / 1_000))
    }
    return seconds
  }

  close(): void {
    this.#cancelCheck()
  }

  #check(): void {
    this.#cancelCheck()
    const { after, wallClock } = this.#options
    const now = wallClock()
    for (const file of this.#files) this.#report(file, now)
    // At least every hour, because the clock of the system may be set.
    const events = this.#files.flatMap(({ expiresAt }) => [expiresAt, expiresAt - WARNING_MS])
    const next = Math.min(HOUR_MS, ...events.map(at => at - now).filter(ms => ms > 0))
    if (this.#files.length > 0) this.#cancelCheck = after(next, () => this.#check())
  }

  #report(certificate: CertificateFile, now: number): void {
    const { file, role, setting, expiresAt } = certificate
    if (expiresAt - now > WARNING_MS) return
    const level = expiresAt <= now ? 'error' : 'warn'
    const last = this.#reports.get(keyOf(certificate))
    if (last?.level === level && now - last.at < REPEAT_MS) return
    this.#reports.set(keyOf(certificate), { level, at: now })
    const fields = { file, certificate: role, setting, expiresAt: new Date(expiresAt).toISOString() }
    if (level === 'error') this.#options.log('error', 'certificate expired', fields)
    else this.#options.log('warn', 'certificate expires soon', { ...fields, daysLeft: daysUntil(expiresAt, now) })
  }
}

const keyOf = ({ role, fingerprint }: CertificateFile): string => `${role} ${fingerprint}`
