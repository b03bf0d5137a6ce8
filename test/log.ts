import { spawnSync } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import { format, inspect } from 'node:util'
import t from 'tap'
import { Fault } from '../src/errors.js'
import { createBufferedStream, createLog, type LeveledLog, Secret, silentLog } from '../src/log.js'
import type { LogEvent } from '../src/logEvents.js'

const LEVELS = ['debug', 'info', 'warn', 'error'] as const

/** A log that takes any field at any level, to test what the types rule out. */
type UntypedLog = (level: (typeof LEVELS)[number], event: LogEvent, fields?: Record<string, unknown>) => void
const untyped = (log: LeveledLog) => log as unknown as UntypedLog

/** Returns the text that a run writes to its log. */
function written(run: (log: UntypedLog) => void, level: Parameters<typeof createLog>[0] = 'debug'): string {
  let text = ''
  const log = createLog(level, {
    write(line) {
      text += line
    },
  })
  run(untyped(log))
  return text
}

t.test('an event is one JSON object on one line', async t => {
  const text = written(log => {
    log('info', 'ready')
    log('warn', 'connection closed', { id: 7, text: 'two\nlines', deep: { is: [1, undefined, null] } })
  })
  const lines = text.split('\n')
  t.equal(lines.pop(), '')
  const [first, second] = lines.map(line => JSON.parse(line))
  t.same(Object.keys(first), ['level', 'time', 'event'])
  t.match(first, { level: 'info', event: 'ready', time: /^\d{4}-\d\d-\d\dT[\d:.]+Z$/ })
  t.match(second, {
    level: 'warn',
    event: 'connection closed',
    id: 7,
    text: 'two\nlines',
    deep: { is: [1, null, null] },
  })
})

/** Every character that must not reach a terminal, and one that may. */
const UNPRINTABLE = [
  ...Array.from({ length: 32 }, (_, code) => String.fromCharCode(code)),
  ...Array.from({ length: 33 }, (_, code) => String.fromCharCode(0x7f + code)),
  ...['\u061c', '\u200b', '\u200e', '\u200f', '\u2028', '\u2029', '\ufeff', '\u{e0041}'],
  ...['\u202a', '\u202b', '\u202c', '\u202d', '\u202e', '\u2066', '\u2067', '\u2068', '\u2069'],
  ...['\ud800', '\udfff'],
]

t.test('unprintable characters are escaped in values and keys, however deep, and can be parsed', async t => {
  for (const character of UNPRINTABLE) {
    const text = `a${character}b`
    const line = written(log => log('warn', 'connection closed', { text, deep: [{ [text]: [text] }], [text]: 1 }))
    t.match(line, /^[^\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]+\n$/u, escape(text))
    t.match(JSON.parse(line), { text, deep: [{ [text]: [text] }], [text]: 1 }, escape(text))
  }
  t.match(
    written(log => log('warn', 'connection closed', { text: 'é 名 🙂 "\\' })),
    '"text":"é 名 🙂 \\"\\\\"',
    'printable characters stay',
  )
})

t.test('a value and a key have at most 500 characters, however deep, and show that something is missing', async t => {
  const long = 'x'.repeat(60_000)
  const short = `${'x'.repeat(499)}…`
  const line = written(log =>
    log('warn', 'connection closed', {
      why: long,
      accessKeyId: long.slice(0, 500),
      refused: { [long]: 1, deep: [long, { deeper: long }] },
      [long]: long,
      json: { toJSON: () => ({ deep: long }) },
    }),
  )
  t.strictSame(JSON.parse(line), {
    ...JSON.parse(line),
    why: short,
    accessKeyId: long.slice(0, 500),
    refused: { [short]: 1, deep: [short, { deeper: short }] },
    [short]: short,
    json: { deep: short },
  })
  const pairs = JSON.parse(written(log => log('warn', 'connection closed', { why: `${'🙂'.repeat(300)}` }))).why
  t.equal(pairs, `${'🙂'.repeat(249)}…`, 'no character is split')
})

t.test('a verified ARN has at most 2,048 characters, and a stack trace 8,192', async t => {
  const long = 'x'.repeat(60_000)
  const line = JSON.parse(written(log => log('warn', 'connection closed', { arn: long, user: long, stack: long })))
  t.same([line.arn.length, line.user.length, line.stack.length], [2_048, 2_048, 8_192])
})

t.test('long lists and deep values are bounded', async t => {
  let deep: unknown = 'bottom'
  for (let depth = 0; depth < 10_000; depth++) deep = { deep }
  const many = Object.fromEntries(Array.from({ length: 10_000 }, (_, index) => [`key${index}`, index]))
  const line = written(log => log('warn', 'connection closed', { deep, list: Object.keys(many), many }))
  t.ok(line.length < 5_000)
  const { list, many: shown } = JSON.parse(line)
  t.equal(list.at(-1), '…')
  t.equal(shown['…'], 9_900)
  const endless = { toJSON: (): unknown => endless }
  t.match(JSON.parse(written(log => log('warn', 'connection closed', { endless }))), { endless: '…' })
})

t.test('only what is loud enough is written', async t => {
  for (const [i, level] of LEVELS.entries()) {
    const text = written(log => {
      for (const level of LEVELS) log(level, 'connection closed')
    }, level)
    t.same(text.match(/debug|info|warn|error/g), LEVELS.slice(i))
  }
  t.equal(
    written(log => log('error', 'admin request failed'), 'silent'),
    '',
  )
})

t.test('fields that refer to themselves, or that JSON cannot hold, do not fail', async t => {
  const round: Record<string, unknown> = {}
  round.round = round
  const text = written(log => log('info', 'connection closed', { round, many: 2n ** 64n, run: () => {} }))
  t.match(JSON.parse(text), { event: 'connection closed' })
})

t.test(
  'lines are written in batches and in order, and an error is written at once with the lines before it',
  async t => {
    const writes: string[] = []
    const due: (() => void)[] = []
    const lines = createBufferedStream({ write: text => writes.push(text) }, flush => due.push(flush))
    const log = createLog('debug', lines)
    log('info', 'draining')
    log('info', 'connection closed')
    t.equal(writes.length, 0)
    t.equal(due.length, 1, 'both lines share one flush')
    due.shift()?.()
    t.match(writes.splice(0), [/draining.*\n.*closed.*\n$/])
    log('info', 'draining')
    log('error', 'admin request failed')
    t.match(writes.splice(0), [/draining.*\n.*failed.*\n$/])
    due.shift()?.()
    t.equal(writes.length, 0, 'no line is written twice')
    untyped(log)('info', 'connection closed', { long: Array(50).fill('x'.repeat(400)) })
    t.equal(writes.length, 1, 'a long line is written at once')
  },
)

t.test('the last line is written however the process ends', async t => {
  const module = JSON.stringify(new URL('../dist/log.js', import.meta.url).href)
  for (const [end, code] of [
    ['', 0],
    ['process.exit(3)', 3],
    ["throw new Error('uncaught')", 1],
    ["Promise.reject(new Error('unhandled'))", 1],
    ["setTimeout(() => process.exit(0), 100); log('info', 'connection closed')", 0],
  ] as const) {
    const text = `import { createLog } from ${module}; const log = createLog('info'); log('info', 'draining'); log('info', 'stopped'); ${end}`
    const { stderr, status } = spawnSync(process.execPath, ['--input-type=module', '-e', text], { encoding: 'utf8' })
    t.equal(status, code, end)
    t.match(stderr, /"event":"draining".*\n.*"event":"stopped"\}\n/, end)
  }
})

t.test('the silent log has the same form', async t => {
  t.equal(silentLog('error', 'admin request failed', {}), undefined)
})

const secret = new Secret('hunter2')

t.test('a secret is revealed on request and never printed', async t => {
  t.equal(secret.reveal(), 'hunter2')
  for (const shown of [
    JSON.stringify(secret),
    JSON.stringify({ deep: [{ secret }] }),
    `${secret}`,
    String(secret),
    `${secret}`.concat(secret as never),
    [secret].join(),
    inspect(secret),
    inspect(secret, { showHidden: true, depth: 9, customInspect: false }),
    inspect({ secret, deep: new Map([[secret, { secret }]]) }, { depth: 9 }),
    format('%s %o %O %j %d', secret, secret, secret, secret, secret),
    Object.entries(secret).join(),
    JSON.stringify(Object.getOwnPropertyDescriptors(secret)),
    JSON.stringify(structuredClone({ ...secret })),
  ]) {
    t.notMatch(shown, 'hunter2')
  }
  t.equal(JSON.stringify({ secret }), '{"secret":"[secret]"}')
  t.equal(`${secret} ${inspect(secret)}`, '[secret] [secret]')
})

t.test('secrets are compared without being revealed', async t => {
  t.ok(secret.equals(new Secret('hunter2')))
  for (const other of ['hunter', 'hunter22', 'Hunter2', '']) t.notOk(secret.equals(new Secret(other)))
})

t.test('a change of the level applies to a log that is in use', async t => {
  const lines: string[] = []
  const log = createLog('warn', { write: line => lines.push(line) })
  log('info', 'draining', { signal: 'SIGTERM' })
  log.setLevel('info')
  log('info', 'connection closed', { id: 1 })
  log.setLevel('error')
  log('warn', 'configuration warning', { warning: 'x' })
  t.match(
    lines.map(line => JSON.parse(line)),
    [{ event: 'connection closed', id: 1 }],
  )
  t.equal(lines.length, 1)
})

t.test('no level prints a secret, wherever it is in the fields', async t => {
  const fault = new Fault('internal', undefined, { why: secret }, Object.assign(new Error('x'), { secret }))
  const text = written(log => {
    for (const level of LEVELS) {
      log(level, 'connection closed', {
        secret,
        deep: { list: [secret] },
        map: new Map([[secret, secret]]),
        err: fault,
      })
      log(level, 'connection closed', { fault, error: fault.cause, cause: { cause: fault }, ...fault.facts })
      log(level, 'connection closed', secret as never)
      log(level, 'connection closed', fault as never)
    }
  })
  t.notMatch(text, 'hunter2')
  t.match(text, '[secret]')
  t.equal(text.split('\n').length, 17)
})

t.test('only these files reveal secrets', async t => {
  const src = new URL('../src/', import.meta.url)
  const files = readdirSync(src, { recursive: true, encoding: 'utf8' }).filter(file => file.endsWith('.ts'))
  const revealing = files.filter(file => readFileSync(new URL(file, src), 'utf8').includes('reveal('))
  const allowed: Record<string, string> = {
    'log.ts': 'defines reveal',
    'app/policy.ts': 'the connection string, to know whether there is one',
    'app/clientListener.ts': 'the private key, for TLS',
    'commands/doctor/awsSdk.ts': 'credentials, to sign a request',
    'commands/doctor/credentialDiagnosis.ts': 'credentials, to find damage in them',
    'identity/sessionNames.ts': 'the key of hashed session names',
    'identity/credentialFingerprint.ts': 'a session token, for its fingerprint',
    'identity/connectProxy.ts': 'credentials of an HTTP proxy, for the request to it',
    'identity/outcome.ts': 'the signature and the token, to find them in what AWS answers',
    'identity/proof.ts': 'the signature and the token, for the request to STS',
    'upstream/admin.ts': 'the connection string, for the driver',
    'upstream/scramKeys.ts': 'a password, to derive its keys',
    'upstream/target.ts': 'the connection string, which may hold a password',
    'upstream/uriProtection.ts': 'the connection string, for its options about TLS',
    'provisioning/password.ts': 'a master secret, to derive passwords',
    'provisioning/reconciler.ts': 'a password, for the command that sets it',
  }
  t.same(
    revealing.map(file => file.replaceAll('\\', '/')).filter(file => !(file in allowed)),
    [],
  )
})
