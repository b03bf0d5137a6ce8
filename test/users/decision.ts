import t from 'tap'
import { Fault } from '../../src/errors.js'
import { parseIdentity } from '../../src/identity/reply.js'
import { Secret, silentLog } from '../../src/log.js'
import { type Authorizer, type AuthorizerOptions, createAuthorizer } from '../../src/users/decision.js'
import type { Match } from '../../src/users/match.js'
import { createPins } from '../../src/users/pins.js'
import { compileRules, type RuleDefinition } from '../../src/users/rules.js'
import { createFault, faultOf, faultOfAsync } from '../support/faults.js'
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

/** An authorizer with these rules and a directory that returns this match or throws this fault. */
function createScripted(entries: RuleDefinition[], entry?: Match | Fault, more: Partial<AuthorizerOptions> = {}) {
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
/** The fault of a login, thrown or rejected. */
const refusal = (authorizer: Authorizer, ...login: Parameters<Authorizer['authorizeLogin']>) =>
  faultOfAsync(async () => authorizer.authorizeLogin(...login))
const rule = (more: Partial<RuleDefinition> = {}): RuleDefinition => ({ arn, roles: ['readWrite@app'], ...more })
const unreadable = () => new Fault('users/unreadable', undefined, { why: 'the upstream is down' })

t.test('rules are consulted before the directory', async t => {
  t.match(await createScripted([rule()], given).authorizeLogin(role(), '::1'), { decidedBy: { rule: 1 } })
  t.match(await createScripted([], given).authorizeLogin(role(), '::1'), { decidedBy: { directoryUser: arn } })
  t.match(
    await createScripted([rule()], unreadable()).authorizeLogin(role(), '::1'),
    { decidedBy: { rule: 1 } },
    'a rule needs no directory',
  )
  t.equal((await refusal(createScripted([], unreadable()), role(), '::1'))?.kind, 'users/unreadable')
  const unknown = await refusal(createScripted([]), role(), '::1')
  t.equal(unknown?.kind, 'users/no-rule')
  t.equal(unknown?.detail, arn)
  const alone = createScripted([], undefined, { directory: undefined })
  t.equal((await refusal(alone, role(), '::1'))?.kind, 'users/no-rule')
})

t.test('a rule decides synchronously, whether it permits the login or not', async t => {
  t.match(createScripted([rule()], unreadable()).authorizeLogin(role(), '::1'), { decidedBy: { rule: 1 } })
  const elsewhere = createScripted([rule({ clientSource: ['10.0.0.0/8'] })], given)
  t.equal(faultOf(() => elsewhere.authorizeLogin(role(), '::1'))?.kind, 'users/source-not-allowed')
  t.ok(createScripted([], given).authorizeLogin(role(), '::1') instanceof Promise, 'the directory is asynchronous')
})

t.test('the conditions of the match apply to logins and to open connections', async t => {
  for (const [entry, kind] of [
    [rule({ clientSource: ['10.0.0.0/8'] }), 'users/source-not-allowed'],
    [rule({ deleteAfterDate: new Date(NOON) }), 'users/expired'],
    [rule({ principalId: 'AROAOTHEROTHEROTHER00' }), 'users/recreated'],
  ] as const) {
    const authorizer = createScripted([entry])
    t.equal((await refusal(authorizer, role(), '::1'))?.kind, kind)
    t.match(authorizer.reevaluate(role(), '::1', undefined), { kind })
  }
  const network = { address: '10.0.0.0', prefix: 8, family: 'ipv4' } as const
  const restricted = createScripted([], { ...given, clientSource: [[network]] })
  t.equal((await refusal(restricted, role(), '::1'))?.kind, 'users/source-not-allowed')
  t.ok(await restricted.authorizeLogin(role(), '10.9.9.9'))
})

t.test('firstUse pins the id of the first login, whatever its session, and refuses a recreated principal', async t => {
  const pins = createPins({ path: 'pins.json', text: undefined, write: async () => {} }, silentLog)
  const authorizer = createScripted([rule({ principalId: 'firstUse' })], undefined, { pins })
  t.ok(authorizer.reevaluate(role(), '::1', undefined) && !pins.get(arn), 'a re-evaluation pins nothing')
  await authorizer.authorizeLogin(role('one'), '::1')
  await authorizer.authorizeLogin(role('two'), '::1')
  const fault = await refusal(authorizer, role('one', 'AROAOTHEROTHEROTHER00'), '::1')
  t.equal(fault?.kind, 'users/recreated')
  t.match(fault?.message, new RegExp(`AROAOTHEROTHEROTHER00, expected ${ID}`))
  t.match(authorizer.reevaluate(role('one', 'AROAOTHEROTHEROTHER00'), '::1', given), { kind: 'users/recreated' })
})

t.test('a login is decided by the rules that are valid at its end', async t => {
  const rulesOf = (...entries: RuleDefinition[]) => compileRules(entries).rules
  let rules = rulesOf(rule({ principalId: 'firstUse' }))
  let then = rulesOf()
  const change = async () => {
    rules = then
  }
  const pins = createPins({ path: 'pins.json', text: undefined, write: change }, silentLog)
  const pinning = createScripted([], undefined, { rules: () => rules, pins })
  t.equal((await refusal(pinning, role(), '::1'))?.kind, 'users/no-rule', 'the rule was removed')

  rules = rulesOf()
  then = rulesOf(rule({ clientSource: ['10.0.0.0/8'] }))
  const decide = async () => {
    await change()
    return given
  }
  const asked = createScripted([], undefined, {
    rules: () => rules,
    directory: { match: decide, matchLastRead: () => given },
  })
  t.equal((await refusal(asked, role(), '::1'))?.kind, 'users/source-not-allowed', 'a rule was added')
})

t.test('a refused login pins nothing', async t => {
  const pins = createPins({ path: 'pins.json', text: undefined, write: async () => {} }, silentLog)
  const entry = rule({ principalId: 'firstUse', clientSource: ['10.0.0.0/8'] })
  t.ok(await refusal(createScripted([entry], undefined, { pins }), role(), '::1'))
  t.equal(pins.get(arn), undefined)
})

t.test('an open connection ends if its rule or user is gone, but not if the directory is unreadable', async t => {
  const byRule: Match = { ...given, decidedBy: { rule: 1 } }
  t.equal(createScripted([]).reevaluate(role(), '::1', given), undefined)
  t.equal(createScripted([], given).reevaluate(role(), '::1', given), given)
  t.equal(createScripted([], unreadable()).reevaluate(role(), '::1', given), given)
  t.equal(createScripted([], createFault('users/ambiguous')).reevaluate(role(), '::1', given), given)
  t.equal(createScripted([], unreadable()).reevaluate(role(), '::1', byRule), undefined, 'its rule was removed')
  t.match(createScripted([rule()], unreadable()).reevaluate(role(), '::1', given), { decidedBy: { rule: 1 } })
})

t.test('the roles of a principal come from its rule or from the directory', async t => {
  t.same(createScripted([rule()], given).getRoles(arn), [{ role: 'readWrite', db: 'app' }])
  t.same(createScripted([], given).getRoles(arn), [{ role: 'read', db: 'app' }])
  t.equal(createScripted([]).getRoles(arn), undefined)
  t.equal(createScripted([rule({ deleteAfterDate: new Date(NOON) })]).getRoles(arn), undefined, 'it has expired')
  t.equal(createScripted([{ arn, user: 'app', password: new Secret('x') }], given).getRoles(arn), undefined)
  t.equal(faultOf(() => createScripted([], unreadable()).getRoles(arn))?.kind, 'users/unreadable')
})
