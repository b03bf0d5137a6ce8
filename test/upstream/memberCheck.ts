import t from 'tap'
import { Fault } from '../../src/errors.js'
import { MemberCheck } from '../../src/upstream/memberCheck.js'
import type { ServerMonitor } from '../../src/upstream/serverMonitor.js'

const failure = new Fault('upstream/unreachable')
const reachable = { freshHello: async () => ({}), lastError: () => undefined }
const unreachable = { freshHello: () => Promise.reject(failure), lastError: () => failure }
const silent = { freshHello: () => new Promise<never>(() => {}), lastError: () => undefined }

const createCheck = (members: Record<string, Pick<ServerMonitor, 'freshHello' | 'lastError'>>) =>
  new MemberCheck(new Map(Object.entries(members)))
const never = () => false

t.test('the primary is checked alone, then the members that answered their last check', async t => {
  const check = createCheck({ a: reachable, b: reachable, c: unreachable, d: reachable })
  t.same(check.selectNext('b'), ['b'])
  await check.run(['b'], never)
  t.equal(check.hasAnswered('b'), true)
  t.equal(check.hasAnswered('a'), false)
  t.same(check.selectNext('b'), ['a', 'd'])
  await check.run(['a', 'd'], never)
  t.same(check.selectNext('b'), [], 'an unreachable member is not checked while others answer')
  t.equal(check.firstFailure, undefined)
})

t.test('unreachable members are checked if no member answers', async t => {
  const check = createCheck({ a: unreachable, b: unreachable })
  t.same(check.selectNext(undefined), ['a', 'b'])
  await check.run(['a', 'b'], never)
  t.equal(check.hasAnswers, false)
  t.equal(check.firstFailure, failure)
  t.same(check.selectNext(undefined), [], 'each member is checked once')
})

t.test('a check ends as soon as it is enough, without waiting for the other members', async t => {
  const check = createCheck({ a: silent, b: reachable })
  await check.run(['a', 'b'], () => check.hasAnswered('b'))
  t.equal(check.hasAnswered('a'), false)
})
