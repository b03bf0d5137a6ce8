/** The smallest possible proxy in Node: two sockets, piped into each other. The relay is compared with it. */
import { readFileSync } from 'node:fs'
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net'
import { createServer as createSecureServer } from 'node:tls'
import { answerCalls } from './answer.js'

const [port = '', pem] = process.argv.slice(2)

function serve(client: Socket): void {
  const upstream = connect({ host: '127.0.0.1', port: Number(port), noDelay: true })
  client.pipe(upstream).pipe(client)
  client.on('error', () => upstream.destroy()).on('close', () => upstream.destroy())
  upstream.on('error', () => client.destroy()).on('close', () => client.destroy())
}

function createPipeServer(): Server {
  if (!pem) return createServer({ noDelay: true }, serve)
  const certAndKey = readFileSync(pem)
  return createSecureServer({ cert: certAndKey, key: certAndKey, noDelay: true }, serve)
}

const server = createPipeServer()
server.listen(0, '127.0.0.1', 4096, () => answerCalls({ port: (server.address() as AddressInfo).port }))
