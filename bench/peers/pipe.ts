/** The least that a proxy in Node can be: two sockets, piped into each other. What we cost is measured beside it. */
import { readFileSync } from 'node:fs'
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net'
import { createServer as createSecureServer } from 'node:tls'
import { answers } from './answer.js'

const [port = '', pem] = process.argv.slice(2)

function serve(client: Socket): void {
  const upstream = connect({ host: '127.0.0.1', port: Number(port), noDelay: true })
  client.pipe(upstream).pipe(client)
  client.on('error', () => upstream.destroy()).on('close', () => upstream.destroy())
  upstream.on('error', () => client.destroy()).on('close', () => client.destroy())
}

function server(): Server {
  if (!pem) return createServer({ noDelay: true }, serve)
  const both = readFileSync(pem)
  return createSecureServer({ cert: both, key: both, noDelay: true }, serve)
}

const listening = server()
listening.listen(0, '127.0.0.1', 4096, () => answers({ port: (listening.address() as AddressInfo).port }))
