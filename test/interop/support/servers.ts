/** Servers of others that stand behind the proxy: FerretDB, and moto in the place of AWS. Each ends with its test. */
import { once } from 'node:events'
import { createServer, request } from 'node:http'
import type { AddressInfo } from 'node:net'
import { text } from 'node:stream/consumers'
import { setTimeout as sleep } from 'node:timers/promises'
import { MongoClient } from 'mongodb'
import type { Test } from 'tap'
import { freePort, lineOf, start } from './childProcess.js'
import type { Program } from './toolchains.js'

const root = { user: 'root', password: 'of ferretdb' }
export type Ferret = { port: number; adminUri: string; uriOf(user: string, password: string): string }

/** FerretDB with SQLite files in its own folder, access control on, and these users. It knows no roles. */
export async function ferret(t: Test, program: Program, users: Record<string, string>): Promise<Ferret> {
  const debug = await freePort()
  const started = start(t, program, [
    '--handler=sqlite',
    '--sqlite-url=file:./',
    '--listen-addr=127.0.0.1:0',
    `--debug-addr=127.0.0.1:${debug}`,
    '--telemetry=disable',
    '--log-format=json',
    '--test-enable-new-auth',
    '--setup-database=admin',
    `--setup-username=${root.user}`,
    `--setup-password=${root.password}`,
  ])
  const [, digits] = await lineOf(started, /Listening on TCP 127\.0\.0\.1:(\d+)/)
  const port = Number(digits)
  const uriOf = (user: string, password: string) =>
    `mongodb://${user}:${encodeURIComponent(password)}@127.0.0.1:${port}/?authSource=admin&authMechanism=SCRAM-SHA-256`
  const adminUri = uriOf(root.user, root.password)
  const admin = new MongoClient(adminUri)
  try {
    for (const [createUser, pwd] of Object.entries(users)) {
      await admin.db('admin').command({ createUser, pwd, roles: [], mechanisms: ['SCRAM-SHA-256'] })
    }
  } finally {
    await admin.close()
  }
  return { port, adminUri, uriOf }
}

/** moto as an HTTP server; `url` once it answers. */
export async function moto(t: Test, python: string): Promise<{ port: number; url: string }> {
  const port = await freePort()
  const url = `http://127.0.0.1:${port}`
  const { exited, said } = start(t, [python, '-m', 'moto.server'], ['-H', '127.0.0.1', '-p', String(port)])
  let ended: number | null | undefined
  exited.then(code => {
    ended = code
  })
  for (;;) {
    if (
      await fetch(`${url}/moto-api/data.json`).then(
        ({ ok }) => ok,
        () => false,
      )
    )
      return { port, url }
    if (ended !== undefined) throw new Error(`moto ended with ${ended}: ${said()}`)
    await sleep(100)
  }
}

/**
 * moto with its replies in AWS's spelling. Requests reach moto as they came, so that it is moto that judges signatures;
 * of its replies, ids of users get the form of AWS's (moto's are 20 small letters and digits) and errors the document of
 * STS (moto wraps them in <Errors>, without a namespace, and calls that text/html). Resolves to the port.
 */
export async function spelled(t: Test, port: number): Promise<number> {
  const server = createServer((asked, answer) => {
    const { method, url, rawHeaders: headers } = asked
    const passed = request({ host: '127.0.0.1', port, method, path: url, headers }, async reply => {
      const body = spell(await text(reply))
      answer
        .writeHead(reply.statusCode ?? 500, { 'Content-Type': 'text/xml', Date: reply.headers.date ?? '' })
        .end(body)
    })
    passed.on('error', () => answer.destroy())
    asked.pipe(passed)
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => {
    server.close()
    server.closeAllConnections()
  })
  return (server.address() as AddressInfo).port
}

const STS = 'https://sts.amazonaws.com/doc/2011-06-15/'

function spell(reply: string): string {
  return reply
    .replace(/<UserId>([a-z0-9]{20})<\/UserId>/, (_, id: string) => `<UserId>AIDA${id.slice(4).toUpperCase()}</UserId>`)
    .replace('<ErrorResponse><Errors>', `<ErrorResponse xmlns="${STS}">`)
    .replace('</Errors></ErrorResponse>', '</ErrorResponse>')
}
