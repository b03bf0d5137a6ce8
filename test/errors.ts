import { readdirSync, readFileSync } from 'node:fs'
import { BSON, Long, serialize } from 'bson'
import t from 'tap'
import {
  describeFault,
  errorCode,
  Fault,
  type FaultDefinition,
  type FaultKind,
  faults,
  toExitCode,
  toLogFields,
  toReply,
} from '../src/errors.js'
import { createFault } from './support/faults.js'

const kinds = Object.keys(faults) as FaultKind[]
const definitionOf = (kind: FaultKind): FaultDefinition => faults[kind]

t.test('every fault has a level, a summary and a remedy of one line each', async t => {
  for (const kind of kinds) {
    const { level, summary, remedy } = definitionOf(kind)
    t.match(level, /^(debug|info|warn|error)$/, kind)
    t.match(summary, /^[\x20-\x7e]{10,120}[^.]$/, `${kind}: the summary has no period, because a detail may follow`)
    t.match(remedy, /^[A-Z][\x20-\x7e]+\.$/, kind)
    t.match(kind, /^[a-z]+(\/[a-z-]+)?$/)
  }
})

t.test('a failure to check an identity is 262 with three labels, and only a rejected identity is 18', async t => {
  const byCode = (code: number) => kinds.filter(kind => definitionOf(kind).reply?.code === code)
  t.same(byCode(18), [
    'proof/malformed',
    'proof/header-unsigned',
    'proof/scope-mismatch',
    'proof/clock-skew',
    'sts/refused',
    'users/no-rule',
    'users/source-not-allowed',
    'users/expired',
    'users/recreated',
    'login/denied',
    'login/failure-limit',
    'login/principal-changed',
    'ldap/on',
  ])
  for (const kind of byCode(262)) {
    t.same(definitionOf(kind).reply?.labels, ['SystemOverloadedError', 'RetryableError', 'RetryableWriteError'], kind)
  }
  const retried = ['sts/throttled', 'sts/unavailable', 'budget/exhausted', 'login/timeout', 'ldap/unknown'] as const
  for (const kind of [
    ...retried,
    'login/concurrency-limit',
    'login/signature-limit',
    'login/principal-limit',
    'login/session-limit',
    'users/ambiguous',
    'users/unreadable',
  ] as const) {
    t.equal(definitionOf(kind).reply?.code, 262, kind)
  }
  for (const kind of byCode(6)) t.same(definitionOf(kind).reply?.labels, ['RetryableWriteError'], kind)
  for (const kind of byCode(18)) t.equal(definitionOf(kind).reply?.labels, undefined, kind)
  const serverStates = [91, 189, 10107, 11600, 11602, 13435, 13436]
  for (const code of serverStates) t.same(byCode(code), [], 'no fault clears the pools of drivers')
})

t.test('every code has one name', async t => {
  const names = new Map<number, string>()
  for (const { reply } of kinds.map(definitionOf)) {
    if (!reply) continue
    t.equal(names.get(reply.code) ?? reply.codeName, reply.codeName)
    names.set(reply.code, reply.codeName)
  }
  t.same(names.get(262), 'ExceededTimeLimit')
})

/** The elements of a document as sent, by name and BSON type. */
const elementsOf = (document: object): string => {
  const bytes = serialize(document)
  return [...BSON.onDemand.parseToElements(bytes)]
    .map(([type, at, length]) => `${Buffer.from(bytes).toString('latin1', at, at + length)}:${type}`)
    .join(' ')
}

t.test('a reply has the fields and types of a server error', async t => {
  const refused = toReply(new Fault('sts/refused', 'ExpiredToken'), 7)
  t.equal(elementsOf(refused ?? {}), 'ok:1 errmsg:2 code:16 codeName:2')
  t.match(refused, {
    ok: { value: 0 },
    errmsg: 'AWS STS refused the credentials: ExpiredToken (connection 7)',
    code: { value: 18 },
    codeName: 'AuthenticationFailed',
  })
  const retry = toReply(new Fault('budget/exhausted', undefined, { backoffMS: 4201 }), 7)
  t.equal(elementsOf(retry ?? {}), 'ok:1 errmsg:2 code:16 codeName:2 errorLabels:4 baseBackoffMS:18')
  t.ok(Long.isLong(retry?.baseBackoffMS) && retry.baseBackoffMS.equals(4201))
  const unavailable = toReply(createFault('sts/unavailable'), 7)
  t.equal(elementsOf(unavailable ?? {}), 'ok:1 errmsg:2 code:16 codeName:2 errorLabels:4')
  for (const kind of kinds) {
    const reply = toReply(createFault(kind), 1)
    if (definitionOf(kind).reply === null) t.equal(reply, null, kind)
    else t.match(reply && elementsOf(reply), /^ok:1 errmsg:2 code:16 codeName:2( errorLabels:4( baseBackoffMS:18)?)?$/)
  }
})

t.test('the backoff of another kind of fault is left out', async t => {
  for (const kind of kinds) {
    const hasBackoff = [
      'budget/exhausted',
      'login/concurrency-limit',
      'login/signature-limit',
      'login/principal-limit',
      'login/session-limit',
    ].includes(kind)
    t.equal('baseBackoffMS' in (toReply(createFault(kind), 1) ?? {}), hasBackoff, kind)
  }
})

t.test('data and facts that a kind does not have do not compile', async t => {
  const misspelt = () => {
    // @ts-expect-error
    new Fault('budget/spent')
    // @ts-expect-error: the backoff is missing
    new Fault('budget/exhausted')
    // @ts-expect-error: the backoff is a number
    new Fault('budget/exhausted', undefined, { backoffMS: '4201' })
    // @ts-expect-error: no such field
    new Fault('internal', undefined, { nonsense: 1 })
    // @ts-expect-error: a fault without data
    new Fault('internal').data('internal')
  }
  t.type(misspelt, 'function')
})

t.test('data are read by kind', async t => {
  const fault = new Fault('login/denied', undefined, { denial: 'account 123456789012', reason: 'ticket 4711' })
  t.equal(fault.data('login/denied')?.denial, 'account 123456789012')
  t.equal(fault.data('login/revoked', 'login/denied')?.denial, 'account 123456789012')
  t.equal(fault.data('login/revoked'), undefined)
})

t.test('no code reads the facts of a fault: they are for the log alone', async t => {
  const src = new URL('../src/', import.meta.url)
  const files = readdirSync(src, { recursive: true, encoding: 'utf8' })
    .map(file => file.replaceAll('\\', '/'))
    .filter(file => file.endsWith('.ts') && file !== 'errors.ts' && !file.startsWith('sandbox/'))
  const readers = files.filter(file => {
    const code = readFileSync(new URL(file, src), 'utf8').replace(/\/\*[\s\S]*?\*\/|\/\/.*$/gm, '')
    return /\bfacts\b/.test(code)
  })
  t.same(readers, [])
  t.ok(files.length > 40)
})

t.test('a message that drivers compare is the one of mongod', async t => {
  for (const [fault, errmsg] of [
    [new Fault('command/unauthorized', 'find'), 'Command find requires authentication'],
    [
      new Fault('hello/app-name-too-long'),
      /^The 'application.name' field must be less then or equal to 128 bytes in the /,
    ],
    [new Fault('hello/metadata-too-large'), 'The client metadata document must be less then or equal to 512 bytes'],
    [new Fault('hello/metadata-repeated'), 'The client metadata document may only be sent in the first hello'],
    [new Fault('sasl/out-of-order', 'sasl: Mismatched conversation id'), /^sasl: Mismatched conversation id \(/],
  ] as const) {
    t.match(toReply(fault, 7)?.errmsg, errmsg)
  }
})

t.test('every reply has its own labels', async t => {
  toReply(new Fault('sts/throttled'), 1)?.errorLabels.push('NoSuchLabel')
  t.same(toReply(new Fault('sts/throttled'), 1)?.errorLabels.length, 3)
})

t.test('the client sees neither facts nor cause', async t => {
  for (const kind of kinds) {
    const facts = { reason: 'hunter2', why: 'hunter2', backoffMS: 1, denial: 'hunter2', directoryUsers: ['hunter2'] }
    const fault = new Fault(
      ...([kind, 'detail', facts, new Error('hunter2')] as unknown as ConstructorParameters<typeof Fault>),
    )
    t.notMatch(fault.message, 'hunter2')
    t.notMatch(JSON.stringify(toReply(fault, 1)), 'hunter2')
    t.match(fault.message, `${definitionOf(kind).summary}: detail`)
    t.match(fault.cause, { message: 'hunter2' })
  }
  t.notOk('cause' in new Fault('internal'))
  t.equal(new Fault('usage').message, definitionOf('usage').summary)
})

t.test('a log line has the facts of the fault and of the fault that caused it', async t => {
  const denied = new Fault('login/denied', undefined, { denial: 'account 123456789012', why: 'denied' })
  const revoked = new Fault('login/revoked', undefined, { why: 'revoked' }, denied)
  t.same(toLogFields(revoked), { fault: 'login/revoked', why: 'revoked', denial: 'account 123456789012' })
  t.same(toLogFields(new Fault('proxy/shutdown')), { fault: 'proxy/shutdown', why: 'the proxy is shutting down' })
  t.match(toLogFields(Fault.from(new TypeError('x'))), { fault: 'internal', stack: /^TypeError: x\n/ })
  t.match(toLogFields(new Fault('internal')), { fault: 'internal', stack: /^Fault: / })
})

t.test('the deny list of an invalid configuration is neither logged nor shown', async t => {
  const deny = { file: 'deny.yaml', text: '- the whole list' }
  const fault = new Fault('config/invalid', undefined, { problems: ['x: y'], deny })
  const causes = [fault, new Fault('internal', undefined, {}, fault)]
  for (const one of causes) {
    t.match(toLogFields(one), { problems: ['x: y'], deny: undefined })
    t.notMatch(JSON.stringify(toLogFields(one)), /whole list/)
    t.notMatch(describeFault(one), /deny/)
  }
  t.same(fault.data('config/invalid')?.deny, deny)
})

t.test('a terminal shows message, facts and remedy', async t => {
  const fault = new Fault('upstream/unreachable', undefined, { host: 'mongo.internal', code: 'ECONNREFUSED' })
  t.equal(
    describeFault(fault),
    `the upstream MongoDB is unreachable, host mongo.internal, code ECONNREFUSED. ${fault.definition.remedy}`,
  )
})

t.test('a terminal gets the text of a server on one line, bounded and without control characters', async t => {
  const errmsg = `\u001b[2J\u009b31m\nok    upstream\u202e${'x'.repeat(60_000)}`
  const line = describeFault(new Fault('upstream/authentication-failed', errmsg, { errmsg }))
  t.match(line, /\\u001b\[2J\\u009b31m\\u000aok {4}upstream\\u202ex+…, errmsg \\u001b\[2J/)
  t.notMatch(line, /[\p{Cc}\p{Cf}]/u)
  t.ok(line.length < 1_500)
})

t.test('anything thrown becomes a fault', async t => {
  const fault = new Fault('usage')
  t.equal(Fault.from(fault), fault)
  for (const thrown of [new TypeError('x'), 'x', null, 1]) {
    const made = Fault.from(thrown)
    t.match(made, { kind: 'internal', message: 'internal error of the proxy' })
    t.equal(made.cause, thrown)
  }
  t.match(Fault.from(undefined), { kind: 'internal' })
  t.ok(fault instanceof Error)
  t.equal(fault.name, 'Fault')
})

t.test('the code of an error of Node.js is its text, and anything else has none', async t => {
  t.equal(errorCode(Object.assign(new Error(), { code: 'ENOENT' })), 'ENOENT')
  for (const other of [Object.assign(new Error(), { code: 7 }), new Error(), { code: 'ENOENT' }, null, undefined]) {
    t.equal(errorCode(other), undefined)
  }
})

t.test('exit codes are those of sysexits(3)', async t => {
  const exits = Object.fromEntries(
    kinds.filter(kind => 'exit' in definitionOf(kind)).map(kind => [kind, toExitCode(createFault(kind))]),
  )
  t.same(exits, {
    'listener/address-unavailable': 69,
    'config/invalid': 78,
    'admin/failed': 78,
    'demo/sandbox-missing': 64,
    usage: 64,
    internal: 70,
  })
  t.equal(toExitCode(new Fault('sts/refused')), 70, 'a fault that should not end a program is a bug')
})
