/**
 * Third-party servers next to the proxy: FerretDB and SecantusDB as the upstream, moto as AWS, and tinyproxy on the way to it.
 * Each ends with its test.
 */
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { createServer, request } from 'node:http'
import { type AddressInfo, connect } from 'node:net'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { setTimeout as sleep } from 'node:timers/promises'
import { type Document, MongoClient } from 'mongodb'
import type { Test } from 'tap'
import { createTempFolder } from '../../support/program.js'
import { findFreePort, type RunningProgram, startProgram, waitForLine } from './childProcess.js'
import type { Program } from './toolchains.js'

const ROOT = { user: 'root', password: 'of the server' }

export type FerretdbServer = {
  port: number
  /** A connection string with the root user. */
  adminUri: string
  uriFor(user: string, password: string): string
}

/** Starts FerretDB with SQLite files, access control and these users (name → password). FerretDB has no roles. */
export async function startFerretdb(t: Test, program: Program, users: Record<string, string>): Promise<FerretdbServer> {
  const debugPort = await findFreePort()
  const running = startProgram(t, program, [
    '--handler=sqlite',
    '--sqlite-url=file:./',
    '--listen-addr=127.0.0.1:0',
    `--debug-addr=127.0.0.1:${debugPort}`,
    '--telemetry=disable',
    '--log-format=json',
    '--test-enable-new-auth',
    '--setup-database=admin',
    `--setup-username=${ROOT.user}`,
    `--setup-password=${ROOT.password}`,
  ])
  const [, digits] = await waitForLine(running, /Listening on TCP 127\.0\.0\.1:(\d+)/)
  const port = Number(digits)
  const uriFor = (user: string, password: string) =>
    `mongodb://${user}:${encodeURIComponent(password)}@127.0.0.1:${port}/?authSource=admin&authMechanism=SCRAM-SHA-256`
  const adminUri = uriFor(ROOT.user, ROOT.password)
  const admin = new MongoClient(adminUri)
  try {
    for (const [createUser, pwd] of Object.entries(users)) {
      await admin.db('admin').command({ createUser, pwd, roles: [], mechanisms: ['SCRAM-SHA-256'] })
    }
  } finally {
    await admin.close()
  }
  return { port, adminUri, uriFor }
}

export type SecantusdbServer = {
  port: number
  /** A connection string with the root user. */
  adminUri: string
  uriFor(user: string, password: string): string
  /** Runs a command as root. */
  command(db: string, command: Document): Promise<Document>
}

/**
 * Starts SecantusDB, in Python or in Rust, with access control. It has no user at first and then accepts everyone, so it
 * starts once without access control to create root.
 */
export async function startSecantusdb(
  t: Test,
  program: Program,
  options: readonly string[] = [],
): Promise<SecantusdbServer> {
  const port = await findFreePort()
  const folder = createTempFolder(t)
  const fixed = ['--host', '127.0.0.1', '--port', String(port), '--storage-path', folder]
  const uriFor = (user: string, password: string) =>
    `mongodb://${user}:${encodeURIComponent(password)}@127.0.0.1:${port}/?authSource=admin&directConnection=true`
  const open = startProgram(t, program, fixed)
  await waitForLine(open, /listening on/)
  await runCommand(`mongodb://127.0.0.1:${port}/?directConnection=true`, 'admin', {
    createUser: ROOT.user,
    pwd: ROOT.password,
    roles: ['root'],
  })
  open.child.kill('SIGTERM')
  await open.exited
  await waitForLine(startProgram(t, program, [...fixed, '--auth', ...options]), /listening on/)
  const adminUri = uriFor(ROOT.user, ROOT.password)
  return { port, adminUri, uriFor, command: (db, command) => runCommand(adminUri, db, command) }
}

async function runCommand(uri: string, db: string, command: Document): Promise<Document> {
  const client = new MongoClient(uri)
  try {
    return await client.db(db).command(command)
  } finally {
    await client.close()
  }
}

/** Starts moto as an HTTP server. Resolves when it answers. */
export async function startMoto(t: Test, python: string): Promise<{ port: number; url: string }> {
  const port = await findFreePort()
  const url = `http://127.0.0.1:${port}`
  const { exited, stderr } = startProgram(t, [python, '-m', 'moto.server'], ['-H', '127.0.0.1', '-p', String(port)])
  let exitCode: number | null | undefined
  exited.then(code => {
    exitCode = code
  })
  for (;;) {
    const ready = await fetch(`${url}/moto-api/data.json`).then(
      ({ ok }) => ok,
      () => false,
    )
    if (ready) return { port, url }
    if (exitCode !== undefined) throw new Error(`moto exited with ${exitCode}: ${stderr()}`)
    await sleep(100)
  }
}

/**
 * Starts a proxy in front of moto that rewrites its responses to the format of AWS. Requests pass unchanged, so that moto
 * itself checks the signatures. Two things are rewritten: user ids (moto's are 20 lower-case letters and digits) and errors
 * (moto wraps them in <Errors> without a namespace, and sends them as text/html). Resolves with the port.
 */
export async function startMotoAdapter(t: Test, motoPort: number): Promise<number> {
  const server = createServer((incoming, outgoing) => {
    const { method, url, rawHeaders: headers } = incoming
    const forwarded = request({ host: '127.0.0.1', port: motoPort, method, path: url, headers }, async response => {
      const body = rewriteResponse(await text(response))
      outgoing
        .writeHead(response.statusCode ?? 500, { 'Content-Type': 'text/xml', Date: response.headers.date ?? '' })
        .end(body)
    })
    forwarded.on('error', () => outgoing.destroy())
    incoming.pipe(forwarded)
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => {
    server.close()
    server.closeAllConnections()
  })
  return (server.address() as AddressInfo).port
}

export type Tinyproxy = {
  url: string
  /** What it has printed. */
  log(): string
  start(): Promise<void>
  stop(): Promise<void>
}

/** Starts tinyproxy on a free port. It allows CONNECT to one port, with these credentials (`user:password`). */
export async function startTinyproxy(
  t: Test,
  program: Program,
  { allowedPort, credentials }: { allowedPort: number; credentials: string },
): Promise<Tinyproxy> {
  const port = await findFreePort()
  const configFile = join(createTempFolder(t), 'tinyproxy.conf')
  const lines = [
    `Port ${port}`,
    'Listen 127.0.0.1',
    'Timeout 60',
    'LogLevel Connect',
    `BasicAuth ${credentials.replace(':', ' ')}`,
    `ConnectPort ${allowedPort}`,
  ]
  writeFileSync(configFile, `${lines.join('\n')}\n`)
  let log = ''
  let running: RunningProgram
  const start = async (): Promise<void> => {
    running = startProgram(t, program, ['-d', '-c', configFile])
    running.child.stdout.on('data', chunk => {
      log += chunk
    })
    while (!(await accepts(port))) {
      if (running.child.exitCode !== null) throw new Error(`tinyproxy exited: ${log}${running.stderr()}`)
      await sleep(20)
    }
  }
  await start()
  return {
    url: `http://127.0.0.1:${port}`,
    log: () => log,
    start,
    async stop() {
      running.child.kill('SIGKILL')
      await running.exited
    },
  }
}

/** Whether a program listens on this port. */
async function accepts(port: number): Promise<boolean> {
  const socket = connect(port, '127.0.0.1')
  const accepted = await once(socket, 'connect').then(
    () => true,
    () => false,
  )
  socket.destroy()
  return accepted
}

const STS_NAMESPACE = 'https://sts.amazonaws.com/doc/2011-06-15/'

function rewriteResponse(body: string): string {
  return body
    .replace(/<UserId>([a-z0-9]{20})<\/UserId>/, (_, id: string) => `<UserId>AIDA${id.slice(4).toUpperCase()}</UserId>`)
    .replace('<ErrorResponse><Errors>', `<ErrorResponse xmlns="${STS_NAMESPACE}">`)
    .replace('</Errors></ErrorResponse>', '</ErrorResponse>')
}
