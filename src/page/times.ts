/** Renders moments and durations. All times of the page are in UTC, as in the log. */
import { type Html, html } from './html.js'

const SECOND_MS = 1_000
const MINUTE_MS = 60 * SECOND_MS
const HOUR_MS = 60 * MINUTE_MS
const DAY_MS = 24 * HOUR_MS

/** A moment and how long ago it is. The age has coarse steps, so that the text rarely changes. */
export function renderMoment(at: number, now: number): Html {
  return html`${renderTime(at, now)} <span class="age">· ${describeAge(now - at)}</span>`
}

/** The time of day, with the date if that is another one than today's. */
export function renderTime(at: number, now: number): Html {
  const iso = new Date(at).toISOString()
  const isToday = iso.slice(0, 10) === new Date(now).toISOString().slice(0, 10)
  return html`<time datetime="${iso}">${isToday ? iso.slice(11, 19) : `${iso.slice(0, 10)} ${iso.slice(11, 16)}`}</time>`
}

export function describeAge(ms: number): string {
  if (ms < MINUTE_MS) return 'just now'
  return `${describeDuration(ms)} ago`
}

/** In one unit, rounded down: `45 s`, `12 min`, `7 h`, `3 days`. */
export function describeDuration(ms: number): string {
  if (ms < MINUTE_MS) return `${Math.floor(ms / SECOND_MS)} s`
  if (ms < HOUR_MS) return `${Math.floor(ms / MINUTE_MS)} min`
  if (ms < 2 * DAY_MS) return `${Math.floor(ms / HOUR_MS)} h`
  return `${Math.floor(ms / DAY_MS)} days`
}
