import { readFileSync } from 'node:fs'
import t from 'tap'
import { type LoadedConfig, loadWithPolicy } from '../../src/app/policy.js'
import { findWeakenedProtections, PROTECTIONS } from '../../src/app/protections.js'
import { allSettings } from '../../src/config/settings.js'
import { parseDenyFile } from '../../src/revocation/denyFile.js'

type Mapping = Record<string, unknown>

const pem = (name: string) => readFileSync(new URL(`../support/tls/${name}`, import.meta.url), 'utf8')
const block = (name: string, kind: RegExp) => kind.exec(pem(name))?.[0] ?? ''
const CERTIFICATE = /-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----\n/
const [one, other] = ['upstream.pem', 'misnamed.pem'].map(name => block(name, CERTIFICATE))
const files: Record<string, string> = {
  '/crt': one ?? '',
  '/key': block('upstream.pem', /-----BEGIN (\w+ )?PRIVATE KEY-----[^-]+-----END (\w+ )?PRIVATE KEY-----\n/),
  '/ca': one ?? '',
  '/cas': `${one}${other}`,
  '/token': '0123456789abcdefghij',
  '/reader': 'reader-reader-reader',
  '/deny': '[]\n...\n',
  '/master': 'x'.repeat(44),
}

function load(settings: Mapping): LoadedConfig {
  const main = JSON.stringify({ upstream: { uri: 'mongodb://127.0.0.1/' }, users: [], ...settings })
  const readFile = (path: string) => ({ bytes: Buffer.from(path === 'main' ? main : (files[path] ?? '')), mode: 0o600 })
  return loadWithPolicy({ file: 'main', args: {}, env: {}, readFile })
}

const weakened = (before: Mapping, after: Mapping) => findWeakenedProtections(load(before), load(after))

const ops = { name: 'ops', file: '/token', may: 'write' }
const reader = { name: 'grafana', file: '/reader', may: 'read' }
const tls = { certFile: '/crt', keyFile: '/key' }
const insecure = { hosts: [{ host: 'my-sts', connect: '127.0.0.1:1' }] }
const uri = (options: string) => ({ upstream: { uri: `mongodb://127.0.0.1/?${options}` } })
const admin = (options: string) => ({
  upstream: { uri: 'mongodb://127.0.0.1/', admin: { uri: `mongodb://127.0.0.1/?${options}` } },
})

/** For each setting that protects: what it was, what it is, and what the log says. */
const SAMPLES: Record<string, readonly (readonly [before: Mapping, after: Mapping, says: RegExp])[]> = {
  'audit.onFailure': [[{ audit: { onFailure: 'refuse' } }, {}, /is serve instead of refuse/]],
  'audit.sessionName': [[{ audit: { sessionName: 'hash', hashKeyFile: '/token' } }, {}, /is full instead of hash/]],
  'listen.host': [
    [{ listen: { host: '::1' } }, { listen: { host: '10.0.0.1' }, tls: 'off' }, /is not loopback/],
    [{ listen: { host: '10.0.0.1' }, tls: 'off' }, { listen: { host: '0.0.0.0' }, tls: 'off' }, /every address/],
  ],
  'listen.connections': [[{ listen: { connections: 100 } }, {}, /is 20000 instead of 100/]],
  'listen.reserve': [
    [{ listen: { reserve: 6000 } }, {}, /is 5000 instead of 6000/],
    [{ listen: { reserve: 6000 } }, { listen: { reserve: 10 } }, /is 10 instead of 6000/],
  ],
  'listen.perPrincipal': [
    [{ listen: { perPrincipal: 10 } }, {}, /is 7500 instead of 10/],
    [{ listen: { perPrincipal: 10 } }, { listen: { perPrincipal: 11 } }, /is 11 instead of 10/],
  ],
  'listen.perAddress': [[{ listen: { perAddress: 10 } }, {}, /is 1000 instead of 10/]],
  'listen.reauthenticate': [[{ listen: { reauthenticate: 'close' } }, {}, /is ask instead of close/]],
  tls: [[{ tls }, {}, /TLS was turned off/]],
  'tls.clientCAFile': [
    [{ tls: { ...tls, clientCAFile: '/ca' } }, { tls }, /was removed, so clients need no certificate/],
    [{ tls: { ...tls, clientCAFile: '/ca' } }, {}, /was removed/],
    [{ tls: { ...tls, clientCAFile: '/ca' } }, { tls: { ...tls, clientCAFile: '/cas' } }, /1 other certificate/],
  ],
  'upstream.uri': [
    [uri('tls=true'), uri(''), /TLS was turned off/],
    [uri('tls=true'), uri('tls=true&tlsInsecure=true'), /certificates are not verified/],
    [uri('tls=true'), uri('tls=true&tlsAllowInvalidCertificates=true'), /certificates are not verified/],
    [uri('tls=true'), uri('tls=true&tlsAllowInvalidHostnames=true'), /names of certificates are not verified/],
    [uri('tls=true&tlsCAFile=/ca'), uri('tls=true'), /tlsCAFile was removed/],
  ],
  'upstream.admin.uri': [
    [admin('ssl=true'), admin('ssl=false'), /TLS was turned off/],
    [admin('TLS=true'), admin('tls=true&TLSINSECURE=true'), /certificates are not verified/],
  ],
  'sts.hosts': [[{}, { sts: insecure }, /host that is not of AWS/]],
  'sts.insecure': [[{ sts: insecure }, { sts: { ...insecure, insecure: true } }, /was turned on/]],
  'sts.successCache': [
    [
      { tls: { ...tls, clientCAFile: '/ca' } },
      { tls: { ...tls, clientCAFile: '/ca' }, sts: { successCache: '1m' } },
      /is 1m instead of 0s/,
    ],
  ],
  'login.perAddress': [[{ login: { perAddress: 10 } }, {}, /is 1000 instead of 10/]],
  'login.failures': [[{ login: { failures: 3 } }, {}, /is 10 instead of 3/]],
  'login.failurePeriod': [[{ login: { failurePeriod: '10m' } }, {}, /is 1m instead of 10m/]],
  'login.shadow': [[{}, { login: { shadow: true } }, /was turned on/]],
  'ldap.assume': [[{}, { ldap: { assume: 'off' } }, /was set to off/]],
  'ldap.every': [[{ ldap: { every: '10s' } }, {}, /is 1m instead of 10s/]],
  'admin.host': [[{}, { admin: { host: '0.0.0.0' } }, /every address/]],
  'admin.port': [[{ admin: { port: 'off' } }, {}, /was off/]],
  'admin.hosts': [[{ admin: { hosts: ['a'] } }, { admin: { hosts: ['a', 'b'] } }, /has more names/]],
  'admin.tokenFile': [[{ admin: { tokenFile: '/token' } }, {}, /was removed/]],
  'admin.tokens': [
    [{ admin: { tokens: [ops, reader] } }, {}, /was removed/],
    [
      { admin: { tokens: [ops, reader] } },
      { admin: { tokens: [ops, { ...reader, may: 'write' }] } },
      /1 more that may/,
    ],
  ],
  'deny.file': [[{ deny: { file: '/deny' } }, {}, /was removed/]],
  'deny.adminFile': [[{ deny: { adminFile: '/denied' } }, {}, /was removed/]],
  'provision.period': [[{ provision: { period: '1h' } }, {}, /is 24h instead of 1h/]],
  'provision.clientSource': [
    [{ provision: { clientSource: ['10.0.0.0/8'] } }, {}, /the list was removed/],
    [
      { provision: { clientSource: ['10.0.0.0/8'] } },
      { provision: { clientSource: ['10.0.0.0/8', '::1'] } },
      /the list also has ::1$/,
    ],
  ],
  'pins.file': [[{ pins: { file: '/pins' } }, {}, /was removed/]],
  'directory.enabled': [
    [
      { ...admin(''), provision: { secretFile: '/master' } },
      { ...admin(''), provision: { secretFile: '/master' }, directory: { enabled: true } },
      /was turned on/,
    ],
  ],
  'directory.refresh': [[{ directory: { refresh: '1s' } }, {}, /is 2s instead of 1s/]],
}

t.test('every setting is a protection or not', async t => {
  t.same(new Set(Object.keys(PROTECTIONS)), new Set(allSettings.map(({ path }) => path)))
})

t.test('a setting that protects less is named, and one that protects more is not', async t => {
  for (const [setting, describe] of Object.entries(PROTECTIONS)) {
    t.equal(describe !== null, SAMPLES[setting] !== undefined, `${setting} has a sample`)
    for (const [before, after, says] of SAMPLES[setting] ?? []) {
      const name = `${setting}: ${JSON.stringify(before)} → ${JSON.stringify(after)}`
      const of = (list: ReturnType<typeof weakened>) => list.filter(one => one.setting === setting)
      t.match(of(weakened(before, after)), [{ weakening: says }], name)
      t.same(of(weakened(after, before)), [], `${setting} and back`)
      t.same(weakened(before, before), [], `${setting} unchanged`)
    }
  }
})

t.test('a file of denials or pins that moves is named, because its entries stay behind', async t => {
  t.same(weakened({ pins: { file: '/pins' } }, { pins: { file: '/other' } }), [
    { setting: 'pins.file', weakening: 'names another file' },
  ])
  t.same(weakened({ deny: { adminFile: '/denied' } }, { deny: { adminFile: '/other' } }), [
    { setting: 'deny.adminFile', weakening: 'names another file' },
  ])
})

const ARN = 'arn:aws:iam::123456789012:role/app'
const rule = (conditions: Mapping, arn = ARN) => ({ arn, roles: ['read@app.orders'], ...conditions })
const withRules = (...users: Mapping[]) => ({
  ...admin(''),
  users,
  provision: { secretFile: '/master' },
  pins: { file: '/pins' },
  listen: { scope: 'blue' },
})
const weakenedRules = (before: Mapping[], after: Mapping[]) => weakened(withRules(...before), withRules(...after))

t.test('a condition of a rule that was removed or widened is named', async t => {
  const id = 'AROACKCEVSQ6C2EXAMPLE'
  for (const [before, after, weakening] of [
    [{ clientSource: ['10.0.0.0/8'] }, {}, 'clientSource was removed'],
    [{ clientSource: ['10.0.0.0/8'] }, { clientSource: ['10.0.0.0/7'] }, 'clientSource also has 10.0.0.0/7'],
    [{ clientSource: ['10.0.0.0/8'] }, { clientSource: ['10.0.0.0/8', '::/0'] }, 'clientSource also has ::/0'],
    [{ deleteAfterDate: '2027-01-01' }, {}, 'deleteAfterDate was removed'],
    [
      { deleteAfterDate: '2027-01-01' },
      { deleteAfterDate: '2027-01-02' },
      'deleteAfterDate is 2027-01-02T00:00:00.000Z instead of 2027-01-01T00:00:00.000Z',
    ],
    [{ maxSessions: 3 }, {}, 'maxSessions was removed'],
    [{ maxSessions: 3 }, { maxSessions: 4 }, 'maxSessions is 4 instead of 3'],
    [{ maxAge: '30m' }, {}, 'maxAge was removed'],
    [{ maxAge: '30m' }, { maxAge: '1h' }, 'maxAge is 1h instead of 30m'],
    [{ principalId: id }, {}, 'principalId was removed'],
    [{ principalId: 'firstUse' }, {}, 'principalId was removed'],
    [{ principalId: id }, { principalId: 'firstUse' }, `principalId is firstUse instead of ${id}`],
    [{ scopes: ['blue'] }, {}, 'scopes was removed'],
    [{ scopes: ['green'] }, {}, 'scopes was removed'],
    [{ scopes: ['green'] }, { scopes: ['green', 'blue'] }, 'scopes has more names'],
    [{ scopes: ['green'] }, { scopes: ['green', 'red'] }, 'scopes has more names'],
    [{}, { roles: ['read@app'] }, 'read@app is not limited to a collection'],
  ] as const) {
    const name = `${JSON.stringify(before)} → ${JSON.stringify(after)}`
    t.same(weakenedRules([rule(before)], [rule(after)]), [{ setting: 'users', pattern: ARN, weakening }], name)
    t.same(weakenedRules([rule(after)], [rule(before)]), [], `${name}, and back`)
  }
  t.same(weakenedRules([rule({ clientSource: ['10.0.0.0/8'] })], [rule({ clientSource: ['10.1.0.0/16'] })]), [])
  t.same(weakenedRules([rule({ principalId: id })], [rule({ principalId: `${id}2` })]), [], 'another principal')
})

t.test('a rule that decides in the place of another is compared with it', async t => {
  const wide = rule({}, 'arn:aws:iam::123456789012:role/*')
  const strict = rule({ clientSource: ['10.0.0.0/8'], scopes: ['blue'] })
  const expected = [{ setting: 'users', pattern: ARN, weakening: 'rule 1 decides now: clientSource was removed' }]
  t.same(weakenedRules([strict, wide], [wide]), expected, 'the first rule is gone')
  t.same(weakenedRules([strict, wide], [wide, strict]), expected, 'the second rule is the first')
  t.same(weakenedRules([wide, strict], [wide]), [], 'a rule that never decided')
  t.same(weakenedRules([strict], []), [], 'no rule decides, so nobody is let in')
  const pattern = rule({ maxAge: '1h' }, 'arn:aws:iam::123456789012:role/a*')
  t.match(weakenedRules([pattern, wide], [wide]), [{ weakening: 'rule 1 decides now: maxAge was removed' }])
})

t.test(
  'another scope of the listener brings rules of that scope into effect, which is no change of the rules',
  async t => {
    const rules = withRules(rule({ scopes: ['green'], maxAge: '1h' }))
    t.same(weakened(rules, { ...rules, listen: { scope: 'green' } }), [])
  },
)

t.test('a denial that ends earlier than before is named', async t => {
  const withDenials = (...entries: string[]) => {
    const loaded = load({ deny: { file: '/deny' } })
    const { all, problems } = parseDenyFile([...entries.map(entry => `- ${entry}\n`), '...\n'].join(''), 'deny')
    t.same(problems, [])
    return { ...loaded, policy: { ...loaded.policy, denials: all } }
  }
  const key = (until?: string) => `{ accessKey: AKIAIOSFODNN7EXAMPLE${until ? `, until: ${until}T00:00:00Z` : ''} }`
  const shortened = [
    {
      setting: 'deny.file',
      denial: 'accessKey AKIAIOSFODNN7EXAMPLE',
      weakening: 'ends at 2027-01-01T00:00:00.000Z',
    },
  ]
  const compare = (before: string, ...after: string[]) =>
    findWeakenedProtections(withDenials(before), withDenials(...after))
  t.same(compare(key(), key('2027-01-01')), shortened)
  t.same(compare(key('2027-01-02'), key('2027-01-01')), shortened)
  t.same(compare(key('2027-01-01'), key('2027-01-02')), [])
  t.same(compare(key('2027-01-01'), key()), [])
  t.same(compare(key(), key('2027-01-01'), key()), [], 'the longer one of two counts')
})

t.test(
  'wherever a file is cut at the end of a line, each protection below the cut is named or the file is invalid',
  async t => {
    const rule = 'arn:aws:iam::123456789012:role/app'
    /** Each line, and the protection that is lost without it. */
    const lines: readonly (readonly [line: string, protection?: RegExp])[] = [
      ['upstream: { uri: "mongodb://127.0.0.1/", admin: { uri: "mongodb://127.0.0.1/" } }'],
      ['provision: { secretFile: /master }'],
      ['users:'],
      [`  - arn: ${rule}`],
      ['    roles: [read@app]'],
      ['    clientSource: [10.0.0.0/8]', /clientSource was removed/],
      ['    maxAge: 1h', /maxAge was removed/],
      ['    maxSessions: 5', /maxSessions was removed/],
      ['    deleteAfterDate: 2030-01-01', /deleteAfterDate was removed/],
      ['    principalId: AROACKCEVSQ6C2EXAMPLE', /principalId was removed/],
      ['    scopes: [blue]', /scopes was removed/],
      ['tls:'],
      ['  certFile: /crt'],
      ['  keyFile: /key', /TLS was turned off/],
      ['  clientCAFile: /ca', /clients need no certificate/],
      ['listen:'],
      ['  scope: blue'],
      ['  perAddress: 10', /is 1000 instead of 10/],
      ['deny:'],
      ['  file: /deny', /deny.file: was removed/],
      ['  adminFile: /denied', /deny.adminFile: was removed/],
      ['admin:'],
      ['  tokenFile: /token', /admin.tokenFile: was removed/],
      ['pins: { file: /pins }', /pins.file: was removed/],
    ]
    const loadText = (count: number) => {
      const text = lines.slice(0, count).map(([line]) => `${line}\n`)
      const readFile = (path: string) => ({
        bytes: Buffer.from(path === 'main' ? text.join('') : (files[path] ?? '')),
        mode: 0o600,
      })
      return loadWithPolicy({ file: 'main', args: {}, env: {}, readFile })
    }
    const whole = loadText(lines.length)
    let named = 0
    for (let count = lines.length - 1; count > 3; count--) {
      const cut = attempt(() => loadText(count))
      if (cut === undefined) continue
      const messages = findWeakenedProtections(whole, cut).map(({ setting, weakening }) => `${setting}: ${weakening}`)
      for (const [line, protection] of lines.slice(count)) {
        if (protection)
          t.ok(
            messages.some(message => protection.test(message)),
            `${line}, cut after ${count} lines`,
          )
        named++
      }
    }
    t.ok(named > 100)
  },
)

function attempt<T>(get: () => T): T | undefined {
  try {
    return get()
  } catch {
    return undefined
  }
}
