/** HAProxy in TCP mode with one thread, as a peer. */
import { once } from 'node:events'
import { connect, createServer } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { type Peer, startExternal } from './peer.js'
import type { Testbed } from './testbed.js'

/** Undefined if HAProxy is not installed. */
export async function startHaproxy(testbed: Testbed): Promise<(Peer & { info: { port: number } }) | undefined> {
  const port = await findFreePort()
  const config = `
global
  nbthread 1
  maxconn 1000
defaults
  mode tcp
  timeout connect 5s
  timeout client 1h
  timeout server 1h
listen bench
  bind 127.0.0.1:${port}
  server upstream 127.0.0.1:${testbed.upstream.info.port}
`
  const haproxy = await startExternal('haproxy', ['-db', '-f', testbed.writeFile('haproxy.cfg', config)])
  if (!haproxy) return undefined
  await waitForListener(port)
  return { ...testbed.add(haproxy), info: { port } }
}

/** A port that was free a moment ago: HAProxy cannot report which port it chose. */
async function findFreePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as { port: number }
  server.close()
  await once(server, 'close')
  return port
}

/** Returns after two seconds at most. */
async function waitForListener(port: number): Promise<void> {
  for (let i = 0; i < 100; i++) {
    const socket = connect(port, '127.0.0.1')
    const isConnected = await once(socket, 'connect').catch(() => false)
    socket.destroy()
    if (isConnected) return
    await sleep(20)
  }
}
