/**
 * No message repeats a secret that stands in the wrong place of a configuration. A secret is put anywhere in valid files,
 * flags and variables, which are then damaged as people damage them. ARNs, roles and absolute paths may be repeated.
 *
 * `SECRECY_MUTATIONS` sets the number of damaged files.
 */
import t, { type Test } from 'tap'
import { type LoadedConfig, loadWithPolicy } from '../../src/app/policy.js'
import { createReloader } from '../../src/app/reload.js'
import { parseFlags } from '../../src/config/flags.js'
import type { ConfigSources } from '../../src/config/load.js'
import { allSettings } from '../../src/config/settings.js'
import { Fault } from '../../src/errors.js'
import { createLog } from '../../src/log.js'
import { parseDenyFile } from '../../src/revocation/denyFile.js'
import { createRandom, mutate, pick, type Random } from '../support/mutations.js'

const MUTATIONS = Number(process.env.SECRECY_MUTATIONS ?? 800)

const SECRET = 'hunTer2sEsame'
/** The secret as it is pasted. */
const FORMS = [
  SECRET,
  `mongodb://root:${SECRET}@mongo/`,
  `root:${SECRET}@mongo`,
  `password:${SECRET}`,
  `-${SECRET}`,
  `7${SECRET}`,
]

/** A message leaks if it has six characters of the secret in a row, other than in an absolute path or an ARN. */
function leaks(text: string): boolean {
  const checked = text
    .replace(/(?<![\w:/.])\/[^\s:@"\\]*/g, '')
    .replace(/arn:aws[a-z-]*:(iam|sts)::\d{12}:[^\s"]*/g, '')
    .toLowerCase()
  const parts = Array.from({ length: SECRET.length - 5 }, (_, at) => SECRET.slice(at, at + 6).toLowerCase())
  return parts.some(part => checked.includes(part))
}

const WHOLE = `# the proxy of the shop
listen:
  host: 127.0.0.1
  port: 27017
  advertise: mongo.example.com:27017
  scope: blue
  backlog: 100
  connections: 1000
  perAddress: 10
  reauthenticate: close
upstream:
  uri: mongodb://mongo-0:27017/?replicaSet=rs0
  topology: primary
  admin: { uri: "mongodb://admin:password@mongo-0/" }
sts:
  hosts:
    - sts.eu-west-1.amazonaws.com
    - { host: sts.us-east-1.amazonaws.com, connect: "vpce.example.com:443" }
  quota: 300
  share: 0.5
login: { timeout: 8s, perAddress: 10, failures: 3, failurePeriod: 1m, shadow: false }
ldap:
  assume: off
  every: 5m
drain: { delay: 1s, timeout: 30s }
admin:
  host: ::1
  port: 9216
  hosts: [proxy.internal, 10.0.0.7]
  tokenFile: /run/token
deny: { file: /etc/deny.yaml, adminFile: /var/denied.yaml }
provision:
  secretFile: /run/master
  database: iam
  fleet: shop
  period: 1h
  clientSource: [10.0.0.0/8]
log: { level: info }
pins:
  file: /var/pins.json
directory: { enabled: true, refresh: 2s }
users:
  - arn: arn:aws:iam::123456789012:user/team/alice
    user: alice@admin
    passwordFile: /run/alice
    clientSource: [10.0.0.0/8, "2001:db8::/32"]
    maxAge: 12h
  - arn: arn:aws:iam::123456789012:role/orders-*
    roles: [readWrite@orders, read@catalog.prices]
    principalId: firstUse
  - sso: { permissionSet: Admin, account: "123456789012" }
    roles: [root@admin]
    deleteAfterDate: 2030-12-24T18:00:00Z
    scopes: [maintenance, blue]
  - arn: arn:aws:iam::123456789012:role/reports
    user: reports
    passwordEnv: REPORTS_PASSWORD
...
`
const SMALL = 'upstream: { uri: mongodb://mongo-0/ }\nusers: []\n...\n'
const DENY_FILE = `- arn:aws:iam::123456789012:role/orders-api
- AKIAIOSFODNN7EXAMPLE
- principalId: AROAIOSFODNN7EXAMPLE
  until: 2027-01-31T00:00:00Z
- { account: "210987654321" }
...
`
const FILES: Record<string, string> = {
  '/run/token': '0123456789abcdefghij',
  '/run/master': 'x'.repeat(44),
  '/run/alice': SECRET,
  '/etc/deny.yaml': DENY_FILE,
}

function load(sources: Partial<ConfigSources>, files: Record<string, string>): LoadedConfig | Fault {
  const readFile = (path: string) => {
    const text = files[path] ?? FILES[path]
    if (text === undefined) throw Object.assign(new Error(`ENOENT: no such file '${path}'`), { code: 'ENOENT' })
    return { bytes: Buffer.from(text), mode: 0o644 }
  }
  try {
    return loadWithPolicy({ args: {}, env: { REPORTS_PASSWORD: SECRET }, ...sources, readFile })
  } catch (thrown) {
    return Fault.from(thrown)
  }
}

const lines: string[] = []
const log = createLog('debug', { write: line => lines.push(line) })
const whole = load({ file: 'main' }, { main: WHOLE })

/** Node.js prints these on stderr. */
const warnings: string[] = []
t.intercept(process, 'emitWarning', { value: (warning: unknown) => void warnings.push(String(warning)) })

/** Everything that the operator may see of an attempt to load: the fault, and the log of a reload. */
function messagesOf(next: LoadedConfig | Fault): string {
  if (whole instanceof Fault) throw whole
  lines.length = 0
  createReloader(whole, { apply: () => {}, log, onOutcome: () => {}, onWeakened: () => {} })(next)
  if (!(next instanceof Fault)) return [...lines, ...warnings.splice(0), ...next.config.warnings].join('\n')
  const problems = next.data('config/invalid', 'usage')?.problems ?? []
  return [
    ...lines,
    ...warnings.splice(0),
    next.message,
    next.detail,
    ...problems,
    next.kind === 'internal' ? next.stack : '',
  ].join('\n')
}

/** The places of a file where a secret can hide: the end of each line, and the start and end of each value. */
function hide(text: string, secret: string, random: Random): string {
  const lines = text.split('\n')
  const isHidingPlace = (line: string) => !/arn|roles|[fF]ile:|^\.\.\.$/.test(line)
  const at = pick(
    random,
    [...lines.keys()].filter(index => isHidingPlace(lines[index] ?? '')),
  )
  const line = lines[at] ?? ''
  lines[at] = pick(random, [
    `${line} # ${secret}`,
    `${line}${secret}`,
    `${line} ${secret}`,
    line.replace(/: (?=[^{[]).*/, `: ${secret}`),
    line.replace(/: (?=[^{[]).*/, `: "${secret}"`),
    line.replace(/: (?=[^{[])/, `: ${secret}`),
    line.replace(/(\w+)(?=:)/, secret),
    line.replace(/(\w+)(?=:)/, `$1${secret}`),
  ])
  return lines.join('\n')
}

t.test('the whole configuration is valid', async t => {
  t.notOk(whole instanceof Fault)
  t.notOk(leaks(messagesOf(load({ file: 'main' }, { main: WHOLE.replaceAll('...', '') }))))
  t.ok(leaks(`got "x${SECRET}"`) && leaks(`mongodb://root:${SECRET}@mongo/`))
})

/** Reports the first leak with its seed and file. */
function assertSecrecy(t: Test, seed: number, given: string, messages: string): void {
  if (leaks(messages)) t.fail(`seed ${seed}`, { given, messages })
}

t.test('a damaged configuration file', async t => {
  let problems = 0
  for (let seed = 1; seed <= MUTATIONS; seed++) {
    const random = createRandom(seed)
    const secret = pick(random, FORMS)
    const main = mutate(hide(WHOLE, secret, random), random, secret)
    const next = load({ file: 'main' }, { main })
    if (next instanceof Fault) problems++
    if (next instanceof Fault && next.kind !== 'config/invalid') t.fail('a bug', { main, stack: `${next.stack}` })
    assertSecrecy(t, seed, main, messagesOf(next))
  }
  t.ok(problems > MUTATIONS / 2, `${problems} of ${MUTATIONS} have a problem`)
})

t.test('a damaged deny file', async t => {
  for (let seed = 1; seed <= MUTATIONS / 5; seed++) {
    const random = createRandom(seed)
    const secret = pick(random, FORMS)
    const text = mutate(DENY_FILE, random, secret)
    assertSecrecy(t, seed, text, parseDenyFile(text, 'deny.yaml').problems.join('\n'))
  }
  t.pass('no seed leaks')
})

t.test('flags, variables and stray arguments', async t => {
  const env = { REPORTS_PASSWORD: SECRET }
  for (let seed = 1; seed <= MUTATIONS; seed++) {
    const random = createRandom(seed)
    const secret = pick(random, FORMS)
    const { flag, variable, path } = pick(random, allSettings)
    const argv = pick(random, [
      [secret],
      [`--${secret}`],
      [`-${secret}`],
      [flag, flag, secret],
      [`${flag}=${secret}`],
      [`${flag}:${secret}`],
      [`${flag}${secret}`],
      [mutate(flag, random, secret), secret],
      ['--json', secret, `--json=${secret}`],
    ])
    try {
      parseFlags(argv, { config: 'text', json: 'toggle' })
    } catch (thrown) {
      assertSecrecy(t, seed, argv.join(' '), messagesOf(Fault.from(thrown)))
    }
    const changed = pick<Partial<ConfigSources>>(random, [
      { args: { [path]: secret } },
      { args: { [path]: mutate(secret, random, secret) } },
      { env: { ...env, [variable]: secret } },
      { env: { ...env, [`${variable}_${SECRET}`]: '1' } },
      { env: { ...env, [`MONGO_IAM_PROXY_${SECRET.toUpperCase()}`]: secret } },
      { file: secret },
    ])
    const next = load({ file: 'main', ...changed }, { main: SMALL })
    assertSecrecy(t, seed, JSON.stringify(changed), messagesOf(next))
  }
  t.pass('no seed leaks')
})
