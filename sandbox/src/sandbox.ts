/**
 * Starts the sandbox in a worker thread, so that it does not share an event loop with the program that uses it. On one
 * loop both together would serve half as many logins. The thread runs this same file.
 *
 *     caller ─ options ─▶ worker ─ addresses, principals ─▶ caller ─ any message ─▶ worker closes its servers and exits
 */
import { once } from 'node:events'
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads'
import { type Mongo, type Principal, type SandboxOptions, STS_HOST, startEnvironment } from './environment.js'

export { type CertificateAndKey, type Certificates, createCertificates } from './certificates.js'
export type { Mongo, Principal, SandboxOptions }

export type Sandbox = {
  /** `host` is the AWS host that clients sign for. The server itself speaks plain HTTP at `url`. */
  sts: { host: string; url: string; port: number }
  mongo: Mongo
  /** `user:password`, escaped, of the MongoDB user for the proxy's own work. It authenticates against `admin`. */
  administrator: string
  /** Principals for rules, each with a database user. */
  principals: readonly Principal[]
  /** With `directory`: IAM users that need no rule, because a user in `$external` decides about them. */
  directoryPrincipals: readonly Principal[]
  /** The passwords of the database users of `principals`, by user name. */
  passwords: ReadonlyMap<string, string>
  /** Closes every server and ends the thread. */
  close(): Promise<void>
}

/** Starts the sandbox on free ports of 127.0.0.1. Rejects with the error of the worker if that cannot start. */
export async function startSandbox(options: SandboxOptions): Promise<Sandbox> {
  const worker = new Worker(new URL(import.meta.url), { workerData: options })
  const [started] = (await once(worker, 'message')) as [Omit<Sandbox, 'close'>]
  const exited = once(worker, 'exit')
  return {
    ...started,
    async close() {
      worker.postMessage('close')
      await exited
    },
  }
}

if (!isMainThread && parentPort) {
  const { sts, mongo, administrator, principals, directoryPrincipals, passwords, close } =
    await startEnvironment(workerData)
  parentPort.once('message', close) // Without this listener and the servers, nothing keeps the thread alive.
  const started: Omit<Sandbox, 'close'> = {
    sts: { host: STS_HOST, url: sts.url, port: sts.port },
    mongo: { uri: mongo.uri, hosts: mongo.hosts, replicaSet: mongo.replicaSet },
    administrator,
    principals,
    directoryPrincipals,
    passwords,
  }
  parentPort.postMessage(started)
}
