/** Five thousand monitoring connections cost the members nothing, and each receives the news of a failover. */
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { Int32 } from 'bson'
import t, { type Test } from 'tap'
import { EXHAUST_ALLOWED, readReply, writeMessage } from '../../src/wire/message.js'
import { startReplicaSetProxy } from '../support/replicaSetProxy.js'
import { createFrameReceiver } from '../support/sockets.js'

/** Each needs two file descriptors of this process, and the rest of the test a few hundred. */
const MONITORS = Math.min(5_000, Math.floor((descriptors() - 500) / 2))
/** Fewer than the backlog of the listener, so that no connection is dropped. */
const AT_ONCE = 100

t.test('five thousand idle monitors open no connection to a member', async t => {
  t.comment(`${MONITORS} monitors`)
  const settings = { 'listen.connections': '20000', 'listen.perAddress': '6000', 'ldap.every': '1h' }
  const { set, proxy } = await startReplicaSetProxy(t, settings)
  const accepted = () => set.members().map(member => member.acceptedCount())
  const open = () => set.members().map(member => member.connections().length)
  await startMonitor(t, proxy.port, 0)
  const before = { accepted: accepted(), open: open() }
  const monitors: Monitor[] = []
  while (monitors.length < MONITORS) {
    const some = Array.from({ length: Math.min(AT_ONCE, MONITORS - monitors.length) }, (_, n) =>
      startMonitor(t, proxy.port, n % 2 ? EXHAUST_ALLOWED : 0),
    )
    monitors.push(...(await Promise.all(some)))
  }
  t.same({ accepted: accepted(), open: open() }, before, 'neither for their hellos nor while they are pending')
  t.ok(
    monitors.every(({ socket }) => !socket.destroyed),
    'none was closed',
  )

  set.stepDown()
  const hellos = await Promise.all(monitors.map(async ({ reply }) => readReply(await reply()).document))
  t.ok(hellos.every(({ setName }) => setName === 'rs0'))
  t.same({ accepted: accepted(), open: open() }, before, 'nor for the replies to all of them')
})

type Monitor = { socket: Socket; reply: ReturnType<typeof createFrameReceiver> }

/** Sends a hello, then an awaitable one. `flagBits` may allow a stream of replies. */
async function startMonitor(t: Test, port: number, flagBits: number): Promise<Monitor> {
  const socket = connect(port, '127.0.0.1')
  t.teardown(() => socket.destroy())
  await once(socket, 'connect')
  const reply = createFrameReceiver(socket)
  socket.write(writeMessage({ hello: 1, $db: 'admin' }, 1))
  const { topologyVersion } = readReply(await reply(), { exact: true }).document
  const waiting = { hello: 1, topologyVersion, maxAwaitTimeMS: new Int32(60_000), $db: 'admin' }
  socket.write(writeMessage(waiting, 2, 0, flagBits))
  return { socket, reply }
}

/** The limit of file descriptors of this process. Node raises the soft limit to the hard one. */
function descriptors(): number {
  const { userLimits } = process.report.getReport() as { userLimits?: { open_files?: { soft: number | 'unlimited' } } }
  const soft = userLimits?.open_files?.soft
  return typeof soft === 'number' ? soft : soft === 'unlimited' ? Number.POSITIVE_INFINITY : 1_024
}
