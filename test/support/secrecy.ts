/**
 * Damaged configurations that hold a secret in a wrong place, and everything that the operator sees of them.
 *
 * ARNs, roles and absolute paths may be repeated, so the secret is not put there.
 */
import { ChangeAuditor } from '../../src/app/changeAudit.js'
import { type LoadedConfig, loadWithPolicy } from '../../src/app/policy.js'
import { createReloader } from '../../src/app/reload.js'
import type { AuditEvent } from '../../src/audit/events.js'
import { parseFlags } from '../../src/config/flags.js'
import type { ConfigSources } from '../../src/config/load.js'
import { allSettings } from '../../src/config/settings.js'
import { Fault } from '../../src/errors.js'
import { createLog } from '../../src/log.js'
import { parseDenyFile } from '../../src/revocation/denyFile.js'
import { mutate, pick, type Random } from './mutations.js'

export const SECRET = 'hunTer2sEsame'
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
export function leaks(text: string): boolean {
  const checked = text
    .replace(/(?<![\w:/.])\/[^\s:@"\\]*/g, '')
    .replace(/arn:aws[a-z-]*:(iam|sts)::\d{12}:[^\s"]*/g, '')
    .toLowerCase()
  const parts = Array.from({ length: SECRET.length - 5 }, (_, at) => SECRET.slice(at, at + 6).toLowerCase())
  return parts.some(part => checked.includes(part))
}

export const WHOLE = `# the proxy of the shop
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
  tokens:
    - { name: ops, file: /run/ops, may: write }
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
  '/run/ops': 'ops-ops-ops-ops-ops-ops',
  '/run/master': 'x'.repeat(44),
  '/run/alice': SECRET,
  '/etc/deny.yaml': DENY_FILE,
}

export function load(sources: Partial<ConfigSources>, files: Record<string, string>): LoadedConfig | Fault {
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
process.emitWarning = (warning: unknown) => void warnings.push(String(warning))

/** The events of the audit trail, without the database users of rules, which every login shows. */
const audit = new ChangeAuditor({
  record(_type, fields) {
    const { rule: _, ...event } = fields as AuditEvent<'config'>
    lines.push(JSON.stringify(event).replace(/"user .*?@[^;"]*/g, '"'))
  },
  whenWritten: async () => true,
})

/** Everything that the operator may see of an attempt to load: the fault, and the log of a reload. */
export function messagesOf(next: LoadedConfig | Fault): string {
  if (whole instanceof Fault) throw whole
  lines.length = 0
  createReloader(whole, { apply: () => {}, log, audit, onOutcome: () => {}, onWeakened: () => {} })(next)
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

/** `given`: what was damaged. `messages`: all that the operator sees. `fault`: why it was refused. */
export type SecrecyCase = { given: string; messages: string; fault?: Fault }

export function damageConfiguration(random: Random): SecrecyCase {
  const secret = pick(random, FORMS)
  const given = mutate(hide(WHOLE, secret, random), random, secret)
  const next = load({ file: 'main' }, { main: given })
  return { given, messages: messagesOf(next), ...(next instanceof Fault && { fault: next }) }
}

export function damageDenyFile(random: Random): SecrecyCase {
  const given = mutate(DENY_FILE, random, pick(random, FORMS))
  return { given, messages: parseDenyFile(given, 'deny.yaml').problems.join('\n') }
}

export function damageArguments(random: Random): SecrecyCase {
  const secret = pick(random, FORMS)
  const { flag } = pick(random, allSettings)
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
  const given = argv.join(' ')
  try {
    parseFlags(argv, { config: 'text', json: 'toggle' })
    return { given, messages: '' }
  } catch (thrown) {
    const fault = Fault.from(thrown)
    return { given, messages: messagesOf(fault), fault }
  }
}

export function damageSources(random: Random): SecrecyCase {
  const env = { REPORTS_PASSWORD: SECRET }
  const secret = pick(random, FORMS)
  const { variable, path } = pick(random, allSettings)
  const changed = pick<Partial<ConfigSources>>(random, [
    { args: { [path]: secret } },
    { args: { [path]: mutate(secret, random, secret) } },
    { env: { ...env, [variable]: secret } },
    { env: { ...env, [`${variable}_${SECRET}`]: '1' } },
    { env: { ...env, [`MONGO_IAM_PROXY_${SECRET.toUpperCase()}`]: secret } },
    { file: secret },
  ])
  const next = load({ file: 'main', ...changed }, { main: SMALL })
  return { given: JSON.stringify(changed), messages: messagesOf(next), ...(next instanceof Fault && { fault: next }) }
}
