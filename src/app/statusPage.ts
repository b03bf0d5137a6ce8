/**
 * Takes samples for the status page, and makes the snapshots that it shows.
 *
 *     every 5 s: counters ─▶ series, recent counts ─▶ streams, if there are any
 *     a request or a stream ─▶ snapshot ─▶ hidden names ─▶ sections
 */
import { type BudgetGauges, describeBudgets } from '../admin/budgets.js'
import type { AdminRequest } from '../admin/http.js'
import type { MetricsRecorder } from '../admin/metrics.js'
import type { Routes } from '../admin/routes.js'
import type { AdminStatus } from '../admin/status.js'
import type { After } from '../clock.js'
import { Fault } from '../errors.js'
import { adviseOn } from '../page/advice.js'
import { readAssets } from '../page/assets.js'
import { renderDocument } from '../page/document.js'
import { EventStreams, type LiveView } from '../page/eventStreams.js'
import { COUNTED, findProblems, loginKey, RECENT_SAMPLES, stsKey } from '../page/problems.js'
import { RecentCounts } from '../page/recentCounts.js'
import { createPageRoutes } from '../page/routes.js'
import { SECTIONS } from '../page/sections.js'
import { type Counts, SAMPLE_MS, SeriesRecorder } from '../page/series.js'
import type { StatusSnapshot } from '../page/snapshot.js'
import type { PrimaryHistory } from '../upstream/primaryHistory.js'
import type { Activity } from './activity.js'
import type { CertificateWatch } from './certificateWatch.js'
import type { ConfigStatus } from './configStatus.js'

export type StatusPageOptions = {
  instance: string
  readStatus(): AdminStatus
  readBudgets(): BudgetGauges
  configStatus: Pick<ConfigStatus, 'report'>
  primaryHistory: Pick<PrimaryHistory, 'status'>
  certificates: Pick<CertificateWatch, 'list'>
  findDirectoryProblem(): { why: string; isStale: boolean } | undefined
  clockSkewMS(): number
  activity: Pick<Activity, 'listLargestPrincipals' | 'listRefusals'>
  countRuleLogins(): Counts
  metrics: Pick<MetricsRecorder, 'readCounter' | 'readHistogram'>
  maxStreams: number
  /** Whether a request may read now. */
  isPermitted(request: AdminRequest): boolean
  /** Replaces what must not be shown. */
  hide: ((text: string) => string) | undefined
  onError(fault: Fault): void
  after: After
  /** Monotonic milliseconds. */
  now(): number
  /** Milliseconds since 1970. */
  wallClock(): number
}

/** The address of the runbook, which the proxy serves itself. */
const RUNBOOK = '/runbook'
const MAX_PRINCIPALS = 20
const MAX_RULES = 50
const MAX_REFUSALS = 20
/** Requests within this time share one page. Milliseconds. */
const PAGE_MS = 1_000

export class StatusPage {
  readonly routes: Routes
  readonly #options: StatusPageOptions
  readonly #series = new SeriesRecorder()
  readonly #recent = new RecentCounts(RECENT_SAMPLES)
  readonly #streams: EventStreams
  readonly #addresses: ReturnType<typeof readAssets>['addresses']
  #outcomes: readonly string[] = []
  #page = { at: Number.NEGATIVE_INFINITY, html: '' }
  #isClosed = false
  #cancelSample = (): void => {}

  /** Throws if a file of the page is missing. */
  constructor(options: StatusPageOptions) {
    const { maxStreams, isPermitted, after, onError } = options
    const assets = readAssets()
    this.#options = options
    this.#addresses = assets.addresses
    this.#streams = new EventStreams({ max: maxStreams, render: () => this.#renderView(), after, onError })
    this.routes = createPageRoutes({
      assets,
      streams: this.#streams,
      renderPage: () => this.#renderPage(),
      isPermitted,
    })
  }

  /** Resolves after the first sample. */
  start(): Promise<void> {
    return this.#sample()
  }

  close(): void {
    this.#isClosed = true
    this.#cancelSample()
  }

  async #sample(): Promise<void> {
    const { now, after, onError } = this.#options
    const began = now()
    try {
      await this.#readCounters(began)
      this.#streams.tick()
    } catch (thrown) {
      onError(Fault.from(thrown))
    }
    const delay = Math.max(0, began + SAMPLE_MS - now())
    if (!this.#isClosed) this.#cancelSample = after(delay, () => void this.#sample())
  }

  async #readCounters(began: number): Promise<void> {
    const { metrics, readBudgets, readStatus, wallClock } = this.#options
    const [logins, stsCalls, { queue = [], sts = [], upstream = [] }, ...counters] = await Promise.all([
      metrics.readCounter('logins_total'),
      metrics.readCounter('sts_calls_total'),
      metrics.readHistogram('login_stage_seconds'),
      ...COUNTED.map(async name => [name, (await metrics.readCounter(name))[''] ?? 0] as const),
    ])
    const { waiting, tokens } = readBudgets()
    const { sessions } = readStatus()
    const stages = { queue, sts, upstream }
    this.#series.add({
      ...{ time: wallClock(), now: began, logins, stsCalls, stages, waiting, tokens },
      sessions: sessions.open,
    })
    this.#outcomes = Object.keys(logins)
    this.#recent.add({
      ...renameKeys(logins, loginKey),
      ...renameKeys(stsCalls, stsKey),
      ...Object.fromEntries(counters),
    })
  }

  #renderPage(): string {
    const { now } = this.#options
    if (now() - this.#page.at >= PAGE_MS) {
      this.#page = { at: now(), html: renderDocument(this.#takeSnapshot(), this.#addresses) }
    }
    return this.#page.html
  }

  #renderView(): LiveView {
    const snapshot = this.#takeSnapshot()
    return {
      sections: Object.fromEntries(SECTIONS.map(section => [section.id, section.render(snapshot).toString()])),
      sample: this.#series.last(),
      series: () => snapshot.series,
    }
  }

  /** Names are hidden before they are rendered: markup would separate them from the text by which they are recognized. */
  #takeSnapshot(): StatusSnapshot {
    const { hide } = this.#options
    const { series, ...rest } = this.#describe()
    return { ...(hide ? (JSON.parse(hide(JSON.stringify(rest))) as typeof rest) : rest), series }
  }

  #describe(): StatusSnapshot {
    const { instance, configStatus, primaryHistory, certificates, activity, readBudgets, wallClock } = this.#options
    const { primary, ...history } = primaryHistory.status()
    const { rejectedAt, ...config } = configStatus.report()
    const snapshot = {
      time: wallClock(),
      status: { ...this.#options.readStatus(), instance },
      config: { ...config, ...(rejectedAt !== undefined && { rejectedAt }) },
      primary: {
        ...history,
        ...(primary !== undefined && { primary }),
        changes: history.changes.map(({ primary: address, ...change }) => ({
          ...change,
          ...(address !== undefined && { primary: address }),
        })),
      },
      certificates: certificates.list().map(({ expiresAt, ...rest }) => ({ ...rest, expiresAt: expiresAt.getTime() })),
      budgets: describeBudgets(readBudgets()),
      principals: activity.listLargestPrincipals(MAX_PRINCIPALS),
      rules: Object.entries(this.#options.countRuleLogins())
        .slice(0, MAX_RULES)
        .map(([rule, logins]) => ({ rule, logins })),
      refusals: activity
        .listRefusals()
        .slice(0, MAX_REFUSALS)
        .map(refusal => ({ ...refusal, advice: adviseOn(refusal) })),
      series: this.#series.series(),
    }
    return { ...snapshot, problems: this.#findProblems(snapshot) }
  }

  #findProblems(snapshot: Omit<StatusSnapshot, 'problems'>): StatusSnapshot['problems'] {
    const { findDirectoryProblem, clockSkewMS } = this.#options
    return findProblems(
      {
        ...snapshot,
        recent: this.#recent,
        outcomes: this.#outcomes,
        directory: findDirectoryProblem(),
        clockSkewMS: clockSkewMS(),
      },
      RUNBOOK,
    )
  }
}

function renameKeys(counts: Counts, rename: (key: string) => string): Counts {
  return Object.fromEntries(Object.entries(counts).map(([key, value]) => [rename(key), value]))
}
