// @ts-check
/**
 * Draws the charts with uPlot. The table below each chart is its legend: the rows say which columns of the series to draw, and
 * the computed style of their markers says how.
 */

/** Samples of 15 minutes. */
const MAX_SAMPLES = 180
const HEIGHT = 150

/** @typedef {{ path: readonly string[], name: string, color: string, dash: number[], width: number }} Line */
/** @typedef {{ plot: UPlot, lines: Line[], style: string, readout: HTMLElement }} Chart */

/** @type {any} */
let series
/** @type {Map<Element, Chart>} */
const charts = new Map()
const resizes = new ResizeObserver(entries => {
  for (const { target, contentRect } of entries) {
    const plot = charts.get(target)?.plot
    const width = Math.floor(contentRect.width)
    if (plot && width > 0 && plot.width !== width) plot.setSize({ width, height: HEIGHT })
  }
})

/** @param {any} all */
export function setSeries(all) {
  series = all
  drawCharts()
}

/** @param {any} sample */
export function addSample(sample) {
  if (!series) return
  const { length } = series.times
  append(series, sample, length)
  drawCharts()
}

/** Appends each number of `sample` to the column at the same place of `group`. A column that is new begins with nulls. */
function append(/** @type {any} */ group, /** @type {any} */ sample, /** @type {number} */ length) {
  for (const [name, value] of Object.entries(sample)) {
    if (typeof value === 'object' && value !== null) {
      group[name] ??= {}
      append(group[name], value, length)
    } else {
      group[name] ??= Array(length).fill(null)
      group[name].push(value)
    }
  }
  for (const [name, column] of Object.entries(group)) {
    if (!Array.isArray(column)) continue
    // The server has dropped this column from its samples.
    if (!(name in sample)) column.push(null)
    if (column.length > MAX_SAMPLES) column.splice(0, column.length - MAX_SAMPLES)
  }
}

/** Draws what has changed: the data, the lines of a chart, or their colors. */
export function drawCharts() {
  if (!series || typeof uPlot === 'undefined') return
  for (const [element, { plot }] of charts) {
    if (element.isConnected) continue
    plot.destroy()
    resizes.unobserve(element)
    charts.delete(element)
  }
  for (const element of document.querySelectorAll('[data-chart]')) {
    if (element instanceof HTMLElement) drawChart(element)
  }
}

/** @param {HTMLElement} element */
function drawChart(element) {
  const lines = readLines(element)
  const data = [series.times, ...lines.map(({ path }) => columnAt(path))]
  const { color } = getComputedStyle(element)
  const style = JSON.stringify([color, lines])
  const known = charts.get(element)
  if (known?.style === style) {
    known.plot.setData(data)
    return
  }
  known?.plot.destroy()
  element.replaceChildren()
  const readout = document.createElement('p')
  readout.className = 'readout'
  readout.ariaHidden = 'true'
  const plot = new uPlot(optionsOf(element, lines, readout), data, element)
  element.append(readout)
  charts.set(element, { plot, lines, style, readout })
  resizes.observe(element)
  if (!known) makeReadable(element)
}

/** @param {HTMLElement} element @returns {Line[]} */
function readLines(element) {
  const markers = element.parentElement?.querySelectorAll('[data-series]') ?? []
  return [...markers].map(marker => {
    const { stroke, strokeDasharray, strokeWidth } = getComputedStyle(marker)
    return {
      path: JSON.parse(marker.getAttribute('data-series') ?? '[]'),
      name: marker.parentElement?.textContent?.trim() ?? '',
      color: stroke,
      dash: strokeDasharray === 'none' ? [] : strokeDasharray.split(/[\s,]+/).map(Number.parseFloat),
      width: Number.parseFloat(strokeWidth),
    }
  })
}

/** @param {readonly string[]} path @returns {(number | null)[]} */
function columnAt(path) {
  const column = path.reduce((/** @type {any} */ group, name) => group?.[name], series)
  return Array.isArray(column) ? column : Array(series.times.length).fill(null)
}

/** @param {HTMLElement} element @param {Line[]} lines @param {HTMLElement} readout @returns {UPlotOptions} */
function optionsOf(element, lines, readout) {
  const { color, fontFamily } = getComputedStyle(element)
  const grid = getComputedStyle(element).borderTopColor
  const font = `11px ${fontFamily}`
  const axis = { stroke: color, font, grid: { stroke: grid, width: 1 }, ticks: { show: false } }
  return {
    width: Math.max(100, element.clientWidth),
    height: HEIGHT,
    legend: { show: false },
    cursor: { sync: { key: 'status' }, drag: { x: false, y: false }, points: { size: 5 } },
    scales: { x: { time: true }, y: { range: (_, __, max) => [0, max > 0 ? max * 1.1 : 1] } },
    axes: [
      { ...axis, values: (_, times) => times.map(timeOfDay), space: 60, size: 24 },
      { ...axis, values: (_, values) => values.map(value => shorten(value)), space: 28, size: 44 },
    ],
    series: [
      {},
      ...lines.map(({ name, color, dash, width }) => ({
        label: name,
        stroke: color,
        dash,
        width,
        points: { show: false },
      })),
    ],
    hooks: {
      setCursor: [
        plot => {
          const text = describeSample(plot.cursor.idx, lines)
          readout.textContent = text
        },
      ],
    },
  }
}

/** @param {number} seconds */
const timeOfDay = seconds => new Date(seconds * 1_000).toISOString().slice(11, 16)

/** @param {number} value */
function shorten(value) {
  if (value >= 1_000_000) return `${value / 1_000_000}M`
  return value >= 10_000 ? `${value / 1_000}k` : String(value)
}

/** @param {number | null | undefined} index @param {Line[]} lines */
function describeSample(index, lines) {
  const time = index === null || index === undefined ? undefined : series.times[index]
  if (time === undefined || time === null) return ''
  const values = lines.map(({ name, path }) => {
    const value = columnAt(path)[Number(index)]
    return `${name} ${value === null || value === undefined ? '–' : Math.round(value * 10) / 10}`
  })
  return `${new Date(time * 1_000).toISOString().slice(11, 19)}  ${values.join(', ')}`
}

/** Lets the keyboard move through the samples, and a screen reader read them. @param {HTMLElement} element */
function makeReadable(element) {
  element.tabIndex = 0
  element.setAttribute('role', 'slider')
  element.setAttribute('aria-label', `${element.dataset.caption}: sample`)
  element.setAttribute('aria-valuemin', '0')
  /** @param {number} wanted */
  const show = wanted => {
    const chart = charts.get(element)
    const last = series.times.length - 1
    if (!chart || last < 0) return
    const index = Math.max(0, Math.min(last, wanted))
    chart.plot.setCursor({ left: chart.plot.valToPos(series.times[index], 'x'), top: 0 })
    element.setAttribute('aria-valuemax', String(last))
    element.setAttribute('aria-valuenow', String(index))
    element.setAttribute('aria-valuetext', describeSample(index, chart.lines))
  }
  element.setAttribute('aria-valuemax', String(MAX_SAMPLES - 1))
  element.setAttribute('aria-valuenow', String(MAX_SAMPLES - 1))
  element.addEventListener('focus', () => element.matches(':focus-visible') && show(series.times.length - 1))
  element.addEventListener('blur', () => charts.get(element)?.plot.setCursor({ left: -10, top: -10 }))
  element.addEventListener('keydown', event => {
    const index = Number(element.getAttribute('aria-valuenow'))
    const step = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1, PageDown: -12, PageUp: 12 }[event.key]
    const wanted = event.key === 'Home' ? 0 : event.key === 'End' ? MAX_SAMPLES : step && index + step
    if (wanted === undefined) return
    event.preventDefault()
    show(wanted)
  })
}
