import { getEventListeners } from 'node:events'
import { setImmediate as nextIteration } from 'node:timers/promises'
import t from 'tap'
import { Fault } from '../../src/errors.js'
import { DialQueue } from '../../src/upstream/dialQueue.js'
import { createTermController, type TermController } from '../../src/upstream/primaryTerm.js'
import type { Target } from '../../src/upstream/target.js'
import { createManualClock } from '../support/clock.js'
import { createFault, faultOfAsync } from '../support/faults.js'

const never = () => new AbortController().signal
const STEPPED_DOWN = new Fault('upstream/stepped-down')

type Settings = {
  waits?: boolean
  /** The number of the first primary; undefined if there is none. */
  primary?: number
  /** What the members say when they are asked again. */
  recheck?: (setPrimary: (nth: number | undefined) => void) => Promise<void>
}

/** A queue in front of primaries that the test elects. The target of each has its number as the port. */
function createQueue({ waits = true, primary, recheck = async () => {} }: Settings = {}) {
  const clock = createManualClock()
  let current: { nth: number; controller: TermController } | undefined
  let queue: DialQueue | undefined
  let rechecks = 0
  const setPrimary = (nth: number | undefined) => {
    const before = current
    current = nth === undefined ? undefined : { nth, controller: createTermController() }
    before?.controller.end(STEPPED_DOWN)
    queue?.update()
  }
  setPrimary(primary)
  queue = new DialQueue({
    topology: {
      hasPrimary: () => current !== undefined,
      selectPrimary() {
        if (!current) throw createFault('upstream/unreachable')
        return { target: { port: current.nth } as Target, term: current.controller.term }
      },
      recheck: async () => {
        rechecks++
        await recheck(setPrimary)
      },
    },
    waits,
    now: clock.now,
  })
  return { queue, clock, setPrimary, countRechecks: () => rechecks }
}

/** A dial that the test finishes. It ends with its signal. */
function createDials() {
  const open: { address: string; port: number; finish(): void; fail(thrown: unknown): void }[] = []
  const dialFrom = (address: string) => (target: Target, signal: AbortSignal) =>
    new Promise<number>((resolve, reject) => {
      const dial = {
        address,
        port: target.port,
        finish: () => end(() => resolve(target.port)),
        fail: (thrown: unknown) => end(() => reject(thrown)),
      }
      const end = (act: () => void) => {
        open.splice(open.indexOf(dial), 1)
        act()
      }
      open.push(dial)
      signal.addEventListener('abort', () => dial.fail(signal.reason), { once: true })
    })
  return { open, dialFrom }
}

t.test('a login dials at once while there is a primary', async t => {
  const { queue } = createQueue({ primary: 7 })
  const signal = never()
  const { dialed, term } = await queue.run('192.0.2.1', signal, async target => target.port)
  t.equal(dialed, 7)
  t.equal(term.endReason, undefined)
  t.equal(queue.length, 0)
  t.equal(getEventListeners(signal, 'abort').length, 0)
})

t.test('a login without a primary waits for the election', async t => {
  const { queue, setPrimary } = createQueue()
  const signal = never()
  const login = queue.run('192.0.2.1', signal, async target => target.port)
  await nextIteration()
  t.equal(queue.length, 1)
  setPrimary(2)
  t.match(await login, { dialed: 2 })
  t.equal(getEventListeners(signal, 'abort').length, 0)
})

t.test('a login whose primary steps down while it dials waits for the next one', async t => {
  const { queue, setPrimary, countRechecks } = createQueue({ primary: 1 })
  const { open, dialFrom } = createDials()
  const login = queue.run('192.0.2.1', never(), dialFrom('192.0.2.1'))
  await nextIteration()
  t.equal(open.length, 1)
  setPrimary(undefined)
  await nextIteration()
  t.equal(open.length, 0, 'the dial was aborted')
  t.equal(queue.length, 1)
  setPrimary(2)
  await nextIteration()
  open[0]?.finish()
  t.match(await login, { dialed: 2 })
  t.equal(countRechecks(), 0, 'the end of the term is enough')
})

t.test('a primary that refuses a dial before its monitor notices is asked again', async t => {
  for (const [name, recheck] of [
    ['it has crashed', async set => set(undefined)],
    ['another was elected', async set => set(2)],
    [
      'nothing answers',
      async set => {
        set(undefined)
        throw createFault('upstream/unreachable')
      },
    ],
  ] as [string, NonNullable<Settings['recheck']>][]) {
    const { queue, setPrimary } = createQueue({ primary: 1, recheck })
    let dials = 0
    const login = queue.run('192.0.2.1', never(), async target => {
      if (++dials === 1) throw createFault('upstream/unreachable')
      return target.port
    })
    await nextIteration()
    setPrimary(3)
    t.match(await login, { dialed: name === 'another was elected' ? 2 : 3 }, name)
  }
})

t.test('other faults end a login, and so does a primary that stays and refuses', async t => {
  for (const [kind, rechecks] of [
    ['upstream/authentication-failed', 0],
    ['upstream/protocol-error', 0],
    ['ldap/on', 0],
    ['upstream/unreachable', 1],
  ] as const) {
    const { queue, countRechecks } = createQueue({ primary: 1 })
    const login = queue.run('192.0.2.1', never(), async () => {
      throw createFault(kind)
    })
    t.equal((await faultOfAsync(() => login))?.kind, kind)
    t.equal(countRechecks(), rechecks)
  }
})

t.test('a wait and a dial end with the signal of the login', async t => {
  const reason = new Error('the client left')
  for (const primary of [undefined, 1]) {
    const { queue } = createQueue(primary === undefined ? {} : { primary })
    const { open, dialFrom } = createDials()
    const controller = new AbortController()
    const login = queue.run('192.0.2.1', controller.signal, dialFrom('192.0.2.1'))
    await nextIteration()
    controller.abort(reason)
    await t.rejects(login, reason)
    t.equal(queue.length, 0)
    t.equal(open.length, 0)
    await t.rejects(
      queue.run('192.0.2.1', controller.signal, async () => 1),
      reason,
    )
    t.equal(getEventListeners(controller.signal, 'abort').length, 0)
  }
})

t.test('after an election at most 100 of 1,000 waiting logins dial at once, and addresses alternate', async t => {
  const { queue, setPrimary } = createQueue()
  const { open, dialFrom } = createDials()
  const logins: Promise<unknown>[] = []
  const wait = (address: string) => logins.push(queue.run(address, never(), dialFrom(address)))
  for (let nth = 0; nth < 998; nth++) wait('192.0.2.1')
  wait('192.0.2.2')
  wait('2001:db8::1')
  await nextIteration()
  setPrimary(1)
  await nextIteration()
  t.equal(open.length, 100)
  t.match(queue, { dialing: 100, length: 900 })
  t.same(
    open.slice(0, 4).map(({ address }) => address),
    ['192.0.2.1', '192.0.2.2', '2001:db8::1', '192.0.2.1'],
  )
  const late = queue.run('192.0.2.3', never(), dialFrom('192.0.2.3'))
  let most = 0
  let dials = 0
  let lateAfter: number | undefined
  while (open.length > 0) {
    most = Math.max(most, open.length)
    if (open[0]?.address === '192.0.2.3') lateAfter = dials
    open[0]?.finish()
    dials++
    await nextIteration()
  }
  t.equal(most, 100)
  t.equal(dials, 1_001)
  t.ok(lateAfter !== undefined && lateAfter < 110, 'another address does not wait behind all of them')
  await Promise.all([...logins, late])
  t.match(queue, { dialing: 0, length: 0 })
})

t.test('a step-down during the dials sends all of them back to the queue', async t => {
  const { queue, setPrimary } = createQueue({ primary: 1 })
  const { open, dialFrom } = createDials()
  const logins = Array.from({ length: 150 }, () => queue.run('192.0.2.1', never(), dialFrom('192.0.2.1')))
  await nextIteration()
  t.equal(open.length, 100)
  setPrimary(undefined)
  await nextIteration()
  t.equal(open.length, 0)
  t.equal(queue.length, 150)
  setPrimary(2)
  await nextIteration()
  while (open.length > 0) {
    open[0]?.finish()
    await nextIteration()
  }
  t.same(new Set((await Promise.all(logins)).map(({ dialed }) => dialed)), new Set([2]))
})

t.test('a drain ends the waits for a primary, and lets logins dial', async t => {
  const { queue, setPrimary } = createQueue()
  const waiting = faultOfAsync(() => queue.run('192.0.2.1', never(), async () => 1))
  await nextIteration()
  queue.drain()
  t.match(await waiting, { kind: 'upstream/unreachable', detail: /shutting down/ })
  t.match(await faultOfAsync(() => queue.run('192.0.2.1', never(), async () => 1)), { kind: 'upstream/unreachable' })
  setPrimary(1)
  t.match(await queue.run('192.0.2.1', never(), async target => target.port), { dialed: 1 })
})

t.test('a drain lets logins dial that wait behind others, until the primary is lost', async t => {
  for (const isLost of [false, true]) {
    const { queue, setPrimary } = createQueue({ primary: 1 })
    const { open, dialFrom } = createDials()
    const logins = Array.from({ length: 150 }, () => queue.run('192.0.2.1', never(), dialFrom('192.0.2.1')))
    const ends = Promise.allSettled(logins)
    await nextIteration()
    queue.drain()
    t.equal(queue.length, 50)
    if (isLost) setPrimary(undefined)
    for (await nextIteration(); open.length > 0; await nextIteration()) open[0]?.finish()
    t.same(new Set((await ends).map(({ status }) => status)), new Set([isLost ? 'rejected' : 'fulfilled']))
  }
})

t.test('the fault of a missing primary depends on how long it has been missing', async t => {
  const { queue, clock, setPrimary } = createQueue()
  t.match(queue.findFault(0), { kind: 'upstream/unreachable', detail: 'there is no primary now' })
  clock.advance(7_999)
  queue.update()
  t.equal(queue.findFault(8_000), undefined)
  clock.advance(1)
  t.match(queue.findFault(8_000), { kind: 'upstream/unreachable' })
  setPrimary(1)
  t.equal(queue.findFault(0), undefined)
  setPrimary(undefined)
  t.equal(queue.findFault(8_000), undefined, 'the time starts again')
})

t.test('waiting for a primary alone occupies no dial', async t => {
  const { queue, setPrimary } = createQueue()
  const waits = Array.from({ length: 200 }, () => queue.waitForPrimary('192.0.2.1', never()))
  await nextIteration()
  setPrimary(1)
  await Promise.all(waits)
  t.match(await queue.run('192.0.2.1', never(), async target => target.port), { dialed: 1 })
})

t.test('in front of a single server no login waits', async t => {
  const { queue } = createQueue({ waits: false })
  t.equal((await faultOfAsync(() => queue.run('192.0.2.1', never(), async () => 1)))?.kind, 'upstream/unreachable')
  await queue.waitForPrimary('192.0.2.1', never())
  t.equal(queue.findFault(0), undefined)
})
