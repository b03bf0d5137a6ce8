import t from 'tap'
import type { LoginTimeline } from '../../src/client/login.js'
import { Fault } from '../../src/errors.js'
import { createManualClock } from '../support/clock.js'
import { faultOfAsync } from '../support/faults.js'
import { createAuthenticator, createLoginRequest, createUpstream, identity } from '../support/login.js'

const stagesOf = (timeline: LoginTimeline | undefined) =>
  timeline?.stages.map(({ name, startedAt, endedAt }) => [name, startedAt, endedAt])

function createTimedAuthenticator(replaced: Parameters<typeof createAuthenticator>[0] = {}) {
  const clock = createManualClock()
  const passing = async <T>(ms: number, result: T): Promise<T> => {
    clock.advance(ms)
    return result
  }
  const login = createAuthenticator({
    now: clock.now,
    isTraced: true,
    acquirePermit: () => passing(100, () => {}),
    askSts: () => passing(20, { is: 'identity', identity }),
    connectUpstream: async ({ timeProvisioning }) => {
      await timeProvisioning(passing(0, undefined).then(() => passing(7, undefined)))
      return passing(5, createUpstream())
    },
    ...replaced,
  })
  return { ...login, passing }
}

t.test('a traced login records when each of its stages ran', async t => {
  const { authenticator, abort } = createTimedAuthenticator()
  const request = await createLoginRequest()
  await authenticator.login(request, abort)
  t.same(stagesOf(request.record.timeline), [
    ['queue', 0, 100],
    ['sts', 100, 120],
    ['provisioning', 120, 127],
    ['upstream', 120, 132],
  ])
  t.match(request.record.timeline, { startedAt: 0, endedAt: 132 })
})

t.test('a refused login has the stages that it reached, the one that failed included', async t => {
  const { authenticator, abort, passing } = createTimedAuthenticator({
    async connectUpstream() {
      await passing(3, undefined)
      throw new Fault('upstream/unreachable')
    },
  })
  const request = await createLoginRequest()
  t.match(await faultOfAsync(() => authenticator.login(request, abort)), { kind: 'upstream/unreachable' })
  t.same(stagesOf(request.record.timeline), [
    ['queue', 0, 100],
    ['sts', 100, 120],
    ['upstream', 120, 123],
  ])
})

t.test('a login that is not traced records no times of its stages', async t => {
  const { authenticator, abort } = createTimedAuthenticator({ isTraced: false })
  const request = await createLoginRequest()
  await authenticator.login(request, abort)
  t.notOk(request.record.timeline)
  t.match(request.record.ms, { queue: 100, sts: 20, upstream: 12, login: 132 })
})
