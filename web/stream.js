// @ts-check
/**
 * Follows the event stream of the server and says whether the data is current.
 *
 *     sections   { id: html }       the sections that have changed
 *     series     StatusSeries       all samples, once after the connection
 *     sample     the same, with one value in place of each column
 */

/** The server sends a sample every 5 s. After a sleep of the machine, nothing else reports that the connection is gone. */
const SILENCE_MS = 20_000
/** A server ends each stream after 15 minutes. The next one opens within a few seconds, which is not worth a message. */
const GRACE_MS = 5_000
const RETRY_MS = [1_000, 2_000, 5_000, 10_000, 30_000]
/** A tab that nobody sees gives its stream back after this time. */
const HIDDEN_MS = 5 * 60_000

/** @typedef {{ showSections(changed: Record<string, string>): void, setSeries(series: any): void, addSample(sample: any): void }} Handlers */

/** @param {Handlers} handlers */
export function followEvents({ showSections, setSeries, addSample }) {
  /** @type {EventSource | undefined} */
  let source
  let failures = 0
  /** @typedef {ReturnType<typeof setTimeout> | undefined} Timer */
  let silence = /** @type {Timer} */ (undefined)
  let lost = /** @type {Timer} */ (undefined)
  let retry = /** @type {Timer} */ (undefined)
  let hidden = /** @type {Timer} */ (undefined)

  const isCurrent = () => {
    failures = 0
    clearTimeout(lost)
    lost = undefined
    showConnection('live', 'Live')
    clearTimeout(silence)
    silence = setTimeout(reconnect, SILENCE_MS)
  }

  const reportLost = () => showConnection('lost', 'Connection lost, retrying')

  function reconnect() {
    close()
    lost ??= setTimeout(reportLost, failures === 0 ? GRACE_MS : 0)
    retry = setTimeout(open, RETRY_MS[Math.min(failures, RETRY_MS.length - 1)])
    failures += 1
  }

  function close() {
    source?.close()
    source = undefined
    for (const timer of [silence, retry]) clearTimeout(timer)
  }

  function open() {
    close()
    const stream = new EventSource('/events')
    source = stream
    silence = setTimeout(reconnect, SILENCE_MS)
    /** @param {string} name @param {(value: any) => void} handle */
    const on = (name, handle) =>
      stream.addEventListener(name, event => {
        if (source !== stream) return
        isCurrent()
        handle(JSON.parse(event.data))
      })
    on('sections', showSections)
    on('series', series => {
      setSeries(series)
      showTime(series.times.at(-1))
    })
    on('sample', sample => {
      addSample(sample)
      showTime(sample.times)
    })
    stream.addEventListener('error', () => source === stream && reconnect())
  }

  document.addEventListener('visibilitychange', () => {
    clearTimeout(hidden)
    if (document.hidden) {
      hidden = setTimeout(() => {
        close()
        showConnection('paused', 'Paused while the tab is hidden')
      }, HIDDEN_MS)
    } else if (!source) open()
  })
  addEventListener('pagehide', close)
  addEventListener('pageshow', event => event.persisted && open())
  addEventListener('online', open)
  open()
}

/** @param {number | null | undefined} seconds */
function showTime(seconds) {
  const element = document.getElementById('data-time')
  if (element && seconds) element.textContent = new Date(seconds * 1_000).toISOString().slice(11, 19)
}

/** @param {'live' | 'lost' | 'paused'} state @param {string} text */
function showConnection(state, text) {
  const element = document.getElementById('connection')
  // A screen reader announces every change of the text.
  if (element && element.textContent !== text) element.textContent = text
  const line = /** @type {HTMLElement | null} */ (element?.closest('.connection'))
  if (line) line.dataset.state = state
}
