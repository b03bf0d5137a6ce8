import t from 'tap'
import { Fault } from '../../src/errors.js'
import { parseIdentity } from '../../src/identity/reply.js'
import { Secret, silentLog } from '../../src/log.js'
import { type Authorizer, type AuthorizerOptions, createAuthorizer } from '../../src/users/decision.js'
import type { Match } from '../../src/users/match.js'
import { createPins } from '../../src/users/pins.js'
import { compileRules, type RuleDefinition } from '../../src/users/rules.js'
import { faultOf, faultOfAsync } from '../support/faults.js'
import { identityXML } from '../support/stsReplies.js'

const A = '123456789012'
const ID = 'AROACKCEVSQ6C2EXAMPLE'
const NOON = Date.parse('2026-11-22T12:00:00Z')
const role = (session = 'any', id = ID) =>
  parseIdentity(
    identityXML({ Arn: `arn:aws:sts::${A}:assumed-role/R/${session}`, UserId: `${id}:${session}`, Account: A }),
    'aws',
  )
const arn = `arn:aws:iam::${A}:role/R`
const given: Match = { decidedBy: { directoryUser: arn }, arn, grant: { roles: [{ role: 'read', db: 'app' }] } }

/** A decision by these rules, and a directory that gives this or throws it. */
function decided(entries: RuleDefinition[], entry?: Match | Fault, more: Partial<AuthorizerOptions> = {}) {
  const { rules, problems } = compileRules(entries)
  t.same(problems, [])
  const answer = () => {
    if (entry instanceof Fault) throw entry
    return entry
  }
  return createAuthorizer({
    rules: () => rules,
    directory: { match: async () => answer(), matchLastRead: answer },
    pins: undefined,
    now: () => NOON,
    ...more,
  })
}
/** What a login comes to, sooner or later. */
const refusal = (by: Authorizer, ...login: Parameters<Authorizer['authorizeLogin']>) =>
  faultOfAsync(async () => by.authorizeLogin(...login))
const rule = (more: Partial<RuleDefinition> = {}): RuleDefinition => ({ arn, roles: ['readWrite@app'], ...more })
const away = () => new Fault('users/unreadable', undefined, { why: 'it is away' })

t.test('rules before the directory', async t => {
  t.match(await decided([rule()], given).authorizeLogin(role(), '::1'), { decidedBy: { rule: 1 } })
  t.match(await decided([], given).authorizeLogin(role(), '::1'), { decidedBy: { directoryUser: arn } })
  t.match(
    await decided([rule()], away()).authorizeLogin(role(), '::1'),
    { decidedBy: { rule: 1 } },
    'a rule needs no directory',
  )
  t.equal((await refusal(decided([], away()), role(), '::1'))?.kind, 'users/unreadable')
  const stranger = await refusal(decided([]), role(), '::1')
  t.equal(stranger?.kind, 'users/no-rule')
  t.equal(stranger?.detail, arn)
  const alone = decided([], undefined, { directory: undefined })
  t.equal((await refusal(alone, role(), '::1'))?.kind, 'users/no-rule')
})

t.test('a rule decides at once, whether it lets in or not', async t => {
  t.match(decided([rule()], away()).authorizeLogin(role(), '::1'), { decidedBy: { rule: 1 } })
  const elsewhere = decided([rule({ clientSource: ['10.0.0.0/8'] })], given)
  t.equal(faultOf(() => elsewhere.authorizeLogin(role(), '::1'))?.kind, 'users/source-not-allowed')
  t.ok(decided([], given).authorizeLogin(role(), '::1') instanceof Promise, 'the directory has to be asked')
})

t.test('the conditions of the match are asked, for live connections as well', async t => {
  for (const [entry, kind] of [
    [rule({ clientSource: ['10.0.0.0/8'] }), 'users/source-not-allowed'],
    [rule({ deleteAfterDate: new Date(NOON) }), 'users/expired'],
    [rule({ principalId: 'AROAOTHEROTHEROTHER00' }), 'users/recreated'],
  ] as const) {
    const decision = decided([entry])
    t.equal((await refusal(decision, role(), '::1'))?.kind, kind)
    t.match(decision.reevaluate(role(), '::1', undefined), { kind })
  }
  const network = { address: '10.0.0.0', prefix: 8, family: 'ipv4' } as const
  const restricted = decided([], { ...given, clientSource: [[network]] })
  t.equal((await refusal(restricted, role(), '::1'))?.kind, 'users/source-not-allowed')
  t.ok(await restricted.authorizeLogin(role(), '10.9.9.9'))
})

t.test('D11: firstUse pins what is seen first, session by session, and refuses who was made anew', async t => {
  const pins = createPins({ text: undefined, name: 'pins.json', write: async () => {}, log: silentLog })
  const decision = decided([rule({ principalId: 'firstUse' })], undefined, { pins })
  t.ok(decision.reevaluate(role(), '::1', undefined) && !pins.get(arn), 'looking pins nothing')
  await decision.authorizeLogin(role('one'), '::1')
  await decision.authorizeLogin(role('two'), '::1')
  const fault = await refusal(decision, role('one', 'AROAOTHEROTHEROTHER00'), '::1')
  t.equal(fault?.kind, 'users/recreated')
  t.match(fault?.message, new RegExp(`AROAOTHEROTHEROTHER00 now and was ${ID}`))
  t.match(decision.reevaluate(role('one', 'AROAOTHEROTHEROTHER00'), '::1', given), { kind: 'users/recreated' })
})

t.test('rules that change while a login is decided about are the ones that decide', async t => {
  const rulesOf = (...entries: RuleDefinition[]) => compileRules(entries).rules
  let rules = rulesOf(rule({ principalId: 'firstUse' }))
  let then = rulesOf()
  const change = async () => {
    rules = then
  }
  const pins = createPins({ text: undefined, name: 'pins.json', write: change, log: silentLog })
  const pinning = decided([], undefined, { rules: () => rules, pins })
  t.equal((await refusal(pinning, role(), '::1'))?.kind, 'users/no-rule', 'the rule has gone')

  rules = rulesOf()
  then = rulesOf(rule({ clientSource: ['10.0.0.0/8'] }))
  const asking = async () => {
    await change()
    return given
  }
  const asked = decided([], undefined, { rules: () => rules, directory: { match: asking, matchLastRead: () => given } })
  t.equal((await refusal(asked, role(), '::1'))?.kind, 'users/source-not-allowed', 'a rule has come')
})

t.test('who may not log in pins nothing', async t => {
  const pins = createPins({ text: undefined, name: 'pins.json', write: async () => {}, log: silentLog })
  const entry = rule({ principalId: 'firstUse', clientSource: ['10.0.0.0/8'] })
  t.ok(await refusal(decided([entry], undefined, { pins }), role(), '::1'))
  t.equal(pins.get(arn), undefined)
})

t.test('a live connection ends when what let it in is gone, and not because the directory is away', async t => {
  const byRule: Match = { ...given, decidedBy: { rule: 1 } }
  t.equal(decided([]).reevaluate(role(), '::1', given), undefined)
  t.equal(decided([], given).reevaluate(role(), '::1', given), given)
  t.equal(decided([], away()).reevaluate(role(), '::1', given), given)
  t.equal(decided([], new Fault('users/ambiguous')).reevaluate(role(), '::1', given), given)
  t.equal(decided([], away()).reevaluate(role(), '::1', byRule), undefined, 'its rule was taken out')
  t.match(decided([rule()], away()).reevaluate(role(), '::1', given), { decidedBy: { rule: 1 } })
})

t.test('the roles of a principal are known, or not, or cannot be', async t => {
  t.same(decided([rule()], given).getRoles(arn), [{ role: 'readWrite', db: 'app' }])
  t.same(decided([], given).getRoles(arn), [{ role: 'read', db: 'app' }])
  t.equal(decided([]).getRoles(arn), undefined)
  t.equal(decided([rule({ deleteAfterDate: new Date(NOON) })]).getRoles(arn), undefined, 'its time is over')
  t.equal(decided([{ arn, user: 'app', password: new Secret('x') }], given).getRoles(arn), undefined)
  t.equal(faultOf(() => decided([], away()).getRoles(arn))?.kind, 'users/unreadable')
})
