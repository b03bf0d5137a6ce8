/**
 * The world of the demo in a thread of its own, so that the proxy has one for itself: together they would serve half as
 * many logins. The thread runs this very file.
 *
 *     proxy's thread ─ options ─▶ world ─ where it is, who there is ─▶ proxy's thread ─ anything ─▶ it closes and ends
 */
import { once } from 'node:events'
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads'
import { type Options, type World, world } from '../../src/sandbox/world.js'

/** The same as a world, of which the servers are only shown. */
export type Apart = Pick<World, 'administrator' | 'principals' | 'passwords' | 'close'> & {
  sts: { url: string; port: number }
  mongo: { uri: string; port: number }
}

/** Makes it. Rejects with what went wrong there. */
export async function apart(options: Options): Promise<Apart> {
  const thread = new Worker(new URL(import.meta.url), { workerData: options })
  const [made] = (await once(thread, 'message')) as [Omit<Apart, 'close'>]
  const ended = once(thread, 'exit')
  return {
    ...made,
    async close() {
      thread.postMessage('close')
      await ended
    },
  }
}

if (!isMainThread && parentPort) {
  const { sts, mongo, administrator, principals, passwords, close } = await world(workerData)
  parentPort.once('message', close) // nobody listens to the port any more, and nothing else keeps the thread
  parentPort.postMessage({
    sts: { url: sts.url, port: sts.port },
    mongo: { uri: mongo.uri, port: mongo.port },
    administrator,
    principals,
    passwords,
  })
}
