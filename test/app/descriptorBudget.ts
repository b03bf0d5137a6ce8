import t from 'tap'
import { DescriptorBudget } from '../../src/app/descriptorBudget.js'
import { divideConnections } from '../../src/config/connectionLimits.js'

const needs = { stsHosts: 1, hasAdminInterface: true, isSingle: true }
const divide = (connections: number, more: object = {}) =>
  divideConnections({ connections, reserve: undefined, perPrincipal: undefined, ...more })

/** What these limits take: two descriptors for each session, one for each other connection. */
const descriptorsFor = ({ connections, sessions }: { connections: number; sessions: number }) => connections + sessions

t.test('with enough descriptors the limits are those of the configuration', async t => {
  const configured = divide(60)
  for (const limit of [undefined, 1_048_576, 600]) {
    const budget = new DescriptorBudget(limit, needs, configured)
    t.same(budget.fit(limit, configured), { limits: configured, warning: undefined })
    t.equal(budget.stsCalls, 256)
    t.equal(budget.adminConnections, 128)
  }
})

t.test('connections that do not fit are lowered in proportion, and the warning has the numbers', async t => {
  const configured = divide(20_000, { reserve: 2_000, perPrincipal: 1_800 })
  const budget = new DescriptorBudget(2_048, needs, configured)
  const { limits, warning } = budget.fit(2_048, configured)
  t.same(limits, { connections: 846, reserve: 84, sessions: 762, perPrincipal: 76 })
  t.equal(budget.stsCalls, 256, 'what is set aside for STS remains')
  t.equal(
    warning,
    'listen.connections is 20000, for which the proxy needs 38440 file descriptors, and this process may open 2048 (ulimit -n). It serves 846 connections, of which 762 may be sessions, and makes 256 calls to each STS host at once. Raise ulimit -n to 38440, or lower listen.connections',
  )
})

t.test('clients, STS and the admin interface fit into any number of descriptors', async t => {
  for (const isSingle of [true, false]) {
    for (const hasAdminInterface of [true, false]) {
      for (const stsHosts of [1, 2, 5]) {
        for (const connections of [2, 60, 20_000, 1_000_000]) {
          for (const limit of [120, 160, 256, 512, 1_024, 4_096, 65_536]) {
            const configured = divide(connections)
            const budget = new DescriptorBudget(limit, { stsHosts, hasAdminInterface, isSingle }, configured)
            const { limits, warning } = budget.fit(limit, configured)
            const { stsCalls, adminConnections } = budget
            const all =
              (isSingle ? 56 : 88) +
              descriptorsFor(limits) +
              stsCalls * stsHosts +
              (hasAdminInterface ? adminConnections : 0)
            const text = JSON.stringify({ limit, connections, stsHosts, isSingle, limits, stsCalls, adminConnections })
            t.ok(all <= limit, text)
            t.ok(stsCalls >= 2 && adminConnections >= 4 && limits.reserve >= 1 && limits.sessions >= 1, text)
            t.ok(limits.perPrincipal >= 1 && limits.perPrincipal <= limits.sessions, text)
            t.ok(limits.connections === limits.reserve + limits.sessions && limits.connections <= connections, text)
            t.equal(warning === undefined, limits.connections === connections && stsCalls === 256, text)
          }
        }
      }
    }
  }
})

t.test('with very few descriptors two connections are left', async t => {
  const configured = divide(20_000)
  const { limits } = new DescriptorBudget(32, needs, configured).fit(32, configured)
  t.same(limits, { connections: 2, reserve: 1, sessions: 1, perPrincipal: 1 })
})

t.test('other connections after a reload leave to STS what it got at the start', async t => {
  const few = divide(20)
  const many = divide(20_000)
  const budget = new DescriptorBudget(400, needs, few)
  t.same(budget.fit(400, few).limits, few)
  const setAside = budget.stsCalls + budget.adminConnections
  const { limits, warning } = budget.fit(400, many)
  t.ok(descriptorsFor(limits) <= 400 - 56 - setAside)
  t.ok(warning)
  t.same(budget.fit(1_048_576, many).limits, many, 'a limit that was raised meanwhile')
})
