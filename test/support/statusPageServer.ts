/** Serves the status page, its files and its event stream from snapshots that a test chooses. */
import { readFileSync } from 'node:fs'
import { createServer, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Test } from 'tap'
import { renderDocument } from '../../src/page/document.js'
import { SECTIONS } from '../../src/page/sections.js'
import type { StatusSnapshot } from '../../src/page/snapshot.js'

const ROOT = new URL('../../', import.meta.url)
const WEB = ['status.js', 'status.css', 'charts.js', 'copy.js', 'replaceContent.js', 'stream.js', 'theme.js']
const FILES: Readonly<Record<string, string>> = {
  ...Object.fromEntries(WEB.map(name => [name, `web/${name}`])),
  'uPlot.js': 'node_modules/uplot/dist/uPlot.iife.min.js',
  'uPlot.css': 'node_modules/uplot/dist/uPlot.min.css',
}
const ASSETS = Object.fromEntries(Object.keys(FILES).map(name => [name, `/assets/${name}`]))

export const HEADERS = {
  'content-security-policy':
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types status-page",
  'referrer-policy': 'no-referrer',
  'cross-origin-opener-policy': 'same-origin',
  'x-content-type-options': 'nosniff',
}

export async function startStatusPageServer(t: Pick<Test, 'teardown'>, initial: StatusSnapshot) {
  let snapshot = initial
  const streams = new Set<ServerResponse>()
  const render = () => Object.fromEntries(SECTIONS.map(section => [section.id, section.render(snapshot).toString()]))
  let sections = render()
  const send = (to: Iterable<ServerResponse>, event: string, data: unknown) => {
    for (const stream of to) stream.write(`event: ${event}\ndata: ${JSON.stringify(data)}\n\n`)
  }
  const server = createServer((request, response) => {
    const [path = ''] = (request.url ?? '').split('?')
    const file = FILES[path.replace('/assets/', '')]
    if (path === '/') {
      response.writeHead(200, { 'content-type': 'text/html; charset=utf-8', ...HEADERS })
      response.end(renderDocument(snapshot, ASSETS))
    } else if (path === '/events') {
      response.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-store' })
      streams.add(response)
      response.on('close', () => streams.delete(response))
      send([response], 'sections', sections)
      send([response], 'series', snapshot.series)
    } else if (file) {
      response.writeHead(200, { 'content-type': path.endsWith('.js') ? 'text/javascript' : 'text/css' })
      response.end(readFileSync(new URL(file, ROOT)))
    } else response.writeHead(404).end()
  })
  const disconnect = () => {
    for (const stream of streams) stream.destroy()
    streams.clear()
  }
  const listen = (port: number) => new Promise<void>(resolve => server.listen(port, '127.0.0.1', resolve))
  await listen(0)
  const { port } = server.address() as AddressInfo
  t.teardown(() => {
    disconnect()
    server.close()
    server.closeAllConnections()
  })
  return {
    url: `http://127.0.0.1:${port}/`,
    /** Shows another snapshot and sends the sections that differ. */
    show(next: StatusSnapshot) {
      snapshot = next
      const before = sections
      sections = render()
      const changed = Object.entries(sections).filter(([id, html]) => before[id] !== html)
      send(streams, 'sections', Object.fromEntries(changed))
    },
    send: (event: string, data: unknown) => send(streams, event, data),
    countStreams: () => streams.size,
    /** Refuses connections until `listen` is called. */
    async stop() {
      disconnect()
      server.closeAllConnections()
      await new Promise(resolve => server.close(resolve))
    },
    start: () => listen(port),
  }
}
