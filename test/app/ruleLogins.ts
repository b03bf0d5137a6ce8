import t from 'tap'
import { RuleLogins } from '../../src/app/ruleLogins.js'

const rule = (number: number, description: string) => ({ decidedBy: { rule: number }, description })
const [alice, bob] = ['arn:aws:iam::123456789012:user/alice', 'arn:aws:iam::123456789012:user/bob']

t.test('logins are counted by the ARN of their rule, from zero', async t => {
  const logins = new RuleLogins()
  logins.setRules([rule(1, alice), rule(3, bob)], { hasDirectory: false })
  t.same(logins.counts(), { [alice]: 0, [bob]: 0 })
  logins.record({ rule: 3 })
  logins.record({ rule: 3 })
  logins.record({ rule: 1 })
  t.same(logins.counts(), { [alice]: 1, [bob]: 2 })
})

t.test('rules with the same ARN share a count, and directory users have one together', async t => {
  const logins = new RuleLogins()
  logins.setRules([rule(1, alice), rule(2, alice)], { hasDirectory: true })
  logins.record({ rule: 1 })
  logins.record({ rule: 2 })
  logins.record({ directoryUser: 'arn:aws:iam::123456789012:user/carol' })
  t.same(logins.counts(), { [alice]: 2, directory: 1 })
})

t.test('a reload keeps the counts of rules that remain, at any position, and drops the others', async t => {
  const logins = new RuleLogins()
  logins.setRules([rule(1, alice), rule(2, bob)], { hasDirectory: false })
  logins.record({ rule: 1 })
  logins.record({ rule: 2 })
  logins.setRules([rule(1, 'new'), rule(2, alice)], { hasDirectory: false })
  logins.record({ rule: 2 })
  t.same(logins.counts(), { new: 0, [alice]: 2 })
})

t.test('the number of series is bounded, whatever the number of rules', async t => {
  const logins = new RuleLogins()
  const rules = Array.from({ length: 5_000 }, (_, index) => rule(index + 1, `rule ${index + 1}`))
  logins.setRules(rules, { hasDirectory: true })
  t.equal(Object.keys(logins.counts()).length, 102)
  logins.record({ rule: 100 })
  logins.record({ rule: 101 })
  logins.record({ rule: 5_000 })
  t.match(logins.counts(), { 'rule 100': 1, other: 2, directory: 0 })
})

t.test('a login whose rule a reload has just removed counts as other', async t => {
  const logins = new RuleLogins()
  logins.setRules([], { hasDirectory: false })
  logins.record({ rule: 7 })
  t.same(logins.counts(), { other: 1 })
})
