import { readFileSync } from 'node:fs'
import t from 'tap'
import { findProblems, loginKey, type ProblemInput, stsKey } from '../../src/page/problems.js'
import { emptySnapshot, snapshot, TIME } from '../support/statusSnapshot.js'

const RUNBOOK = readFileSync(new URL('../../docs/errors.md', import.meta.url), 'utf8')
const OUTCOMES = ['success', 'users/no-rule', 'budget/exhausted', 'provision/failed', 'sts/unavailable']
const members = [
  { address: 'mongo-0:27017', state: 'primary' },
  { address: 'mongo-1:27017', state: 'secondary' },
]
const status = {
  ...emptySnapshot.status,
  upstream: { primary: 'mongo-0:27017', members },
  sessions: { open: 5, free: 995 },
}
const certificate = { file: '/tls.pem', role: 'server', setting: 'tls.certFile', expiresAt: TIME + 9e9, daysLeft: 104 }

type Changes = Partial<Omit<ProblemInput, 'recent' | 'status'>> & {
  status?: Partial<ProblemInput['status']>
  increases?: Record<string, number>
}

function find({ increases = {}, status: changed = {}, ...changes }: Changes = {}) {
  const problems = findProblems(
    {
      time: TIME,
      status: { ...status, ...changed },
      config: emptySnapshot.config,
      primary: { ...emptySnapshot.primary, primary: 'mongo-0:27017' },
      certificates: [certificate],
      budgets: { buckets: [], hosts: [{ host: 'sts.eu-west-1.amazonaws.com', health: 1 }] },
      refusals: [],
      recent: { increase: name => increases[name] ?? 0 },
      outcomes: OUTCOMES,
      directory: undefined,
      clockSkewMS: 0,
      ...changes,
    },
    '/runbook',
  )
  for (const { runbook } of problems) {
    const anchors = [...RUNBOOK.matchAll(/^##+ (.+)$/gm)].map(([, title = '']) =>
      title.toLowerCase().replaceAll(' ', '-'),
    )
    t.ok(anchors.includes(runbook.replace('/runbook#', '')), `docs/errors.md has ${runbook}`)
  }
  return problems.map(
    ({ level, text, runbook }) => `${level} ${runbook.replace('/runbook#mongoiamproxy', '')}: ${text}`,
  )
}

t.test('a proxy in service has no problem', async t => {
  t.same(find(), [])
  t.same(find({ increases: { [loginKey('success')]: 100, [loginKey('users/no-rule')]: 100 } }), [])
})

const bucket = {
  bucket: '123456789012 sts.eu-west-1.amazonaws.com',
  tokens: 0,
  perSecond: 60,
  throttles: 3,
  waiting: 7,
}
const host = (name: string, health: number) => ({ host: name, health })
const unreachable = members.map(member => ({ ...member, state: 'unreachable' }))

for (const [name, changes, expected] of [
  [
    'STS is down',
    { budgets: { buckets: [], hosts: [host('a', 0)] } },
    ['error stsdown: AWS STS gives no usable answer'],
  ],
  ['all calls to STS fail', { increases: { [stsKey('unavailable')]: 2 } }, ['error stsdown']],
  [
    'one STS host is ejected',
    { budgets: { buckets: [], hosts: [host('a', 0), host('b', 1)] } },
    ['warning stshostejected: The STS host a'],
  ],
  ['STS throttles', { increases: { [stsKey('throttled')]: 1 } }, ['warning ststhrottled: AWS STS throttled 1 call in']],
  [
    'the budget is exhausted',
    { increases: { [loginKey('budget/exhausted')]: 4 }, budgets: { buckets: [bucket], hosts: [] } },
    [
      'error budgetexhausted: The STS budget was too small for 4 logins in the last 5 minutes; 7 logins of 123456789012',
    ],
  ],
  [
    'there is no primary',
    {
      status: { upstream: { primary: null, members: [{ address: 'mongo-0:27017', state: 'secondary' }] } },
      primary: { since: TIME - 60_000, elections: 0, changes: [] },
    },
    ['error noprimary: MongoDB has had no primary since 03:11:40 UTC.'],
  ],
  [
    'no member answers',
    { status: { upstream: { primary: null, members: unreachable }, ldap: 'unknown' } },
    ['error upstreamdown: No member of MongoDB answers'],
  ],
  [
    'a member is down',
    { status: { upstream: { primary: 'mongo-0:27017', members: [members[0], unreachable[1]].filter(one => !!one) } } },
    ['warning memberdown: The MongoDB member mongo-1:27017'],
  ],
  [
    'the upstream is full',
    { increases: { upstream_refused_connections_total: 3 } },
    ['error upstreamrefusing: MongoDB closed 3 new connections'],
  ],
  [
    'the password of a rule is wrong',
    { increases: { [loginKey('upstream/authentication-failed')]: 1 } },
    ['error upstreamrefusing: MongoDB rejected the database user of 1 login'],
  ],
  [
    'a certificate has expired',
    {
      certificates: [
        { ...certificate, role: 'upstream CA', file: '/ca.pem', expiresAt: TIME - 1, daysLeft: -1 },
        { ...certificate, expiresAt: TIME - 1, daysLeft: -1 },
      ],
    },
    [
      'error certificateexpired: /tls.pem (tls.certFile) expired on 2026-03-14. Clients that verify it cannot connect.',
      'error certificateexpired: /ca.pem',
    ],
  ],
  [
    'a certificate expires soon',
    { certificates: [{ ...certificate, daysLeft: 1 }] },
    ['warning certificateexpiring: /tls.pem (tls.certFile) expires in 1 day.'],
  ],
  [
    'a reload was rejected',
    { config: { ...emptySnapshot.config, isRejected: true, rejectedAt: TIME } },
    ['warning reloadrejected: The configuration file is invalid and was rejected at 03:12:40 UTC.'],
  ],
  ['LDAP authorization is on', { status: { ldap: 'on' } }, ['error ldapon: LDAP authorization is on']],
  ['LDAP authorization is unknown', { status: { ldap: 'unknown' } }, ['error ldapunknown: ']],
  [
    'the audit trail fails',
    { status: { audit: { failing: true } } },
    ['error auditfailing: The audit trail cannot be'],
  ],
  ['the audit trail lost events', { increases: { audit_lost_events_total: 2 } }, ['error auditeventslost: ']],
  [
    'all session slots are taken',
    { status: { sessions: { open: 1000, free: 0 } }, increases: { [loginKey('login/session-limit')]: 2 } },
    ['error sessionlimitreached: All 1000 session slots are taken; 2 logins refused'],
  ],
  ['session slots run out', { status: { sessions: { open: 90, free: 10 } } }, ['warning sessionsnearlimit: 90 % of']],
  ['connections were shed', { increases: { shed_total: 1 } }, ['warning connectionsshed: 1 connection closed']],
  ['sockets cannot be accepted', { increases: { failed_accepts_total: 1 } }, ['error acceptfailing: ']],
  [
    'a principal has reached its limit',
    {
      increases: { [loginKey('login/principal-limit')]: 1 },
      refusals: snapshot.refusals.slice(0, 1).map(refusal => ({ ...refusal, fault: 'login/principal-limit' })),
    },
    ['warning principallimitreached: arn:aws:sts::333344445555:assumed-role/reports/reports-77d-xyz has as many'],
  ],
  [
    'the directory cannot be read',
    { directory: { why: 'not authorized', isStale: false } },
    [
      'warning /runbook#the-login-could-not-be-decided-now: The users of $external cannot be read (not authorized). Logins',
    ],
  ],
  ['the directory is stale', { directory: { why: 'timeout', isStale: true } }, ['error /runbook#the-login-could']],
  ['roles are not taken away', { status: { unrevokedRoles: 1 } }, ['error rolesunrevoked: 1 principal still has']],
  [
    'provisioning fails',
    { increases: { [loginKey('provision/failed')]: 1 } },
    ['warning provisioningfailing: ', 'error'],
  ],
  ['a protection was weakened', { increases: { weakened_protections_total: 1 } }, ['warning protectionweakened: ']],
  ['the clock is wrong', { clockSkewMS: -90_000 }, ['warning clockskewed: The clock of this machine differs']],
  ['a signature was reused', { increases: { [loginKey('proof/header-unsigned')]: 1 } }, ['warning suspiciouslogin: ']],
  ['a principal was recreated', { increases: { [loginKey('users/recreated')]: 1 } }, ['warning suspiciouslogin: ']],
  ['a login met a bug', { increases: { [loginKey('internal')]: 1 } }, ['warning internalerror: ']],
  [
    'logins fail for another reason',
    { increases: { [loginKey('success')]: 8, [loginKey('sts/unavailable')]: 2 } },
    ['error loginsfailing: 20 % of the logins of the last 5 minutes failed'],
  ],
] as [string, Changes, string[]][]) {
  t.test(`${name}: one sentence, and its entry in the runbook`, async t => {
    const found = find(changes)
    t.equal(found.length, expected.length, found.join('\n'))
    for (const start of expected)
      t.ok(
        found.some(problem => problem.startsWith(start)),
        `${start} in ${found}`,
      )
  })
}

t.test('errors come first, and among them what stops every login', async t => {
  const found = find({
    status: { ldap: 'on', audit: { failing: true } },
    increases: { shed_total: 1 },
    certificates: [{ ...certificate, daysLeft: 3 }],
  })
  t.same(
    found.map(text => text.replace(/:.*/, '')),
    ['error ldapon', 'error auditfailing', 'warning certificateexpiring', 'warning connectionsshed'],
  )
})
