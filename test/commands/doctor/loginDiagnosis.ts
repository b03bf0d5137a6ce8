import t from 'tap'
import { diagnoseLdap, diagnoseLogin, diagnoseRule, findFault } from '../../../src/commands/doctor/loginDiagnosis.js'
import { type FaultKind, faults } from '../../../src/errors.js'

const refused = (kind: FaultKind, detail = '') => {
  const { reply, summary } = faults[kind]
  const { code = 0, codeName = '' } = reply ?? {}
  return { is: 'refused', code, codeName, message: `${summary}${detail} (connection 7)` } as const
}

t.test('the fault is known by the message of the reply', async t => {
  for (const kind of Object.keys(faults) as FaultKind[]) {
    const { reply, summary } = faults[kind]
    if (reply && !('toText' in reply)) t.equal(findFault(`${summary}: x`), kind)
  }
  t.equal(findFault('Authentication failed.'), undefined)
})

t.test('a refused login shows code, message and what the owner of the client can do', async t => {
  for (const [kind, text] of [
    ['users/no-rule', /^the proxy answers 18 AuthenticationFailed: no rule matches.*; let its operator add this ARN/],
    ['budget/exhausted', /262 ExceededTimeLimit.*maxPoolSize/],
    ['sts/refused', /get new credentials/],
    ['upstream/unreachable', /6 HostUnreachable.*let its operator run/],
    ['login/expired', /391/],
  ] as const) {
    t.match(diagnoseLogin(refused(kind, ': x')), { level: 'failure', text })
  }
  const other = {
    is: 'refused',
    code: 18,
    codeName: 'AuthenticationFailed',
    message: 'Authentication failed.',
  } as const
  t.same(diagnoseLogin(other).text, 'the proxy answers 18 AuthenticationFailed: Authentication failed.')
  t.match(diagnoseLogin({ is: 'failed', code: 'ECONNRESET' }), { level: 'failure', text: /ECONNRESET/ })
})

t.test('an accepted login shows the database user and its roles', async t => {
  const login = { is: 'accepted', user: 'orders@admin', roles: ['read@app'] } as const
  t.same(diagnoseLogin(login), { level: 'ok', text: 'succeeds as the database user orders@admin, with read@app' })
})

t.test('LDAP authorization shows in the reply to a login', async t => {
  t.equal(diagnoseLdap({ is: 'accepted', user: 'x', roles: [] }).level, 'ok')
  t.match(diagnoseLdap(refused('ldap/on')), { level: 'failure', text: /LDAP authorization is on/ })
  t.match(diagnoseLdap(refused('ldap/unknown')), { level: 'failure', text: /clusterMonitor/ })
  t.equal(diagnoseLdap(refused('users/no-rule')).level, 'note')
  t.match(diagnoseLdap(undefined), { level: 'note', text: /not tried/ })
})

t.test('the rule is shown, or the nearest one', async t => {
  const details = [
    { label: 'principal', text: 'p' },
    { label: 'decided by', text: 'rule 1 of users, role/x' },
    { label: 'database user', text: 'x@admin' },
  ]
  const decided = { isComplete: true, isDecided: true, isDenied: false, details }
  t.same(diagnoseRule(decided), { level: 'ok', text: 'rule 1 of users, role/x; database user: x@admin' })
  const denied = [...details, { label: 'denied', text: 'by account 1' }]
  t.match(diagnoseRule({ ...decided, isDenied: true, details: denied }), {
    level: 'failure',
    text: /^denied: by account 1/,
  })
  const missed = [
    { label: 'refused', text: 'no rule names this principal' },
    { label: 'nearest miss', text: 'rule 1 names role/y' },
  ]
  const miss = { ...decided, isDecided: false, details: missed }
  t.same(diagnoseRule(miss), {
    level: 'failure',
    text: 'no rule names this principal; nearest miss: rule 1 names role/y; add a rule to users',
  })
  t.equal(diagnoseRule({ ...miss, isComplete: false }).level, 'warning')
})
