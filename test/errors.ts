import { BSON, Long, serialize } from 'bson'
import t from 'tap'
import { errorCode, Fault, type FaultKind, faults, toExitCode, toReply } from '../src/errors.js'

const kinds = Object.keys(faults) as FaultKind[]
const row = (kind: FaultKind) => new Fault(kind).definition

t.test('every fault has a level, what it is about and what to do, in one line each', async t => {
  for (const kind of kinds) {
    const { level, summary, remedy } = row(kind)
    t.match(level, /^(debug|info|warn|error)$/, kind)
    t.match(summary, /^[\x20-\x7e]{10,120}[^.]$/, `${kind}: about is no sentence, since a detail may follow`)
    t.match(remedy, /^[A-Z][\x20-\x7e]+[^ ]$/, kind)
    t.match(kind, /^[a-z]+(\/[a-z-]+)?$/)
  }
})

t.test('what cannot be found out now is 262 with the three labels, and only a bad identity is 18', async t => {
  const byCode = (code: number) => kinds.filter(kind => row(kind).reply?.code === code)
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
    t.same(row(kind).reply?.labels, ['SystemOverloadedError', 'RetryableError', 'RetryableWriteError'], kind)
  }
  const later = ['sts/throttled', 'sts/unavailable', 'budget/exhausted', 'login/timeout', 'ldap/unknown'] as const
  for (const kind of [
    ...later,
    'login/concurrency-limit',
    'login/signature-limit',
    'users/ambiguous',
    'users/unreadable',
  ] as const) {
    t.equal(row(kind).reply?.code, 262, kind)
  }
  for (const kind of byCode(6)) t.same(row(kind).reply?.labels, ['RetryableWriteError'], kind)
  for (const kind of byCode(18)) t.equal(row(kind).reply?.labels, undefined, kind)
  const statesOfServers = [91, 189, 10107, 11600, 11602, 13435, 13436]
  for (const code of statesOfServers) t.same(byCode(code), [], 'none clears the pools of drivers')
})

t.test('one code has one name', async t => {
  const names = new Map<number, string>()
  for (const { reply } of kinds.map(row)) {
    if (!reply) continue
    t.equal(names.get(reply.code) ?? reply.codeName, reply.codeName)
    names.set(reply.code, reply.codeName)
  }
  t.same(names.get(262), 'ExceededTimeLimit')
})

/** The elements of a document on the wire, by name and BSON type. */
const elements = (document: object): string => {
  const bytes = serialize(document)
  return [...BSON.onDemand.parseToElements(bytes)]
    .map(([type, at, length]) => `${Buffer.from(bytes).toString('latin1', at, at + length)}:${type}`)
    .join(' ')
}

t.test('a reply has the fields and types of an error of the server', async t => {
  const refused = toReply(new Fault('sts/refused', 'ExpiredToken'), 7)
  t.equal(elements(refused ?? {}), 'ok:1 errmsg:2 code:16 codeName:2')
  t.match(refused, {
    ok: { value: 0 },
    errmsg: 'AWS STS refused the credentials: ExpiredToken (connection 7)',
    code: { value: 18 },
    codeName: 'AuthenticationFailed',
  })
  const later = toReply(new Fault('budget/exhausted', undefined, { backoffMS: 4201 }), 7)
  t.equal(elements(later ?? {}), 'ok:1 errmsg:2 code:16 codeName:2 errorLabels:4 baseBackoffMS:18')
  t.ok(Long.isLong(later?.baseBackoffMS) && later.baseBackoffMS.equals(4201))
  t.equal(elements(toReply(new Fault('sts/unavailable'), 7) ?? {}), 'ok:1 errmsg:2 code:16 codeName:2 errorLabels:4')
  for (const kind of kinds) {
    const reply = toReply(new Fault(kind), 1)
    if (row(kind).reply === null) t.equal(reply, null, kind)
    else t.match(reply && elements(reply), /^ok:1 errmsg:2 code:16 codeName:2( errorLabels:4)?$/, kind)
  }
})

t.test('a backoff that is no number is left out', async t => {
  for (const backoffMS of ['4201', undefined, null]) {
    t.notOk('baseBackoffMS' in (toReply(new Fault('budget/exhausted', undefined, { backoffMS }), 1) ?? {}))
  }
})

t.test('the labels of one reply are its own', async t => {
  toReply(new Fault('sts/throttled'), 1)?.errorLabels.push('NoSuchLabel')
  t.same(toReply(new Fault('sts/throttled'), 1)?.errorLabels.length, 3)
})

t.test('facts and causes are for the log alone', async t => {
  for (const kind of kinds) {
    const fault = new Fault(kind, 'detail', { secret: 'hunter2', why: 'hunter2' }, new Error('hunter2'))
    t.notMatch(fault.message, 'hunter2')
    t.notMatch(JSON.stringify(toReply(fault, 1)), 'hunter2')
    t.match(fault.message, `${row(kind).summary}: detail`)
    t.match(fault.cause, { message: 'hunter2' })
  }
  t.notOk('cause' in new Fault('internal'))
  t.equal(new Fault('usage').message, row('usage').summary)
})

t.test('whatever is thrown becomes a fault', async t => {
  const fault = new Fault('usage')
  t.equal(Fault.from(fault), fault)
  for (const thrown of [new TypeError('x'), 'x', null, 1]) {
    const made = Fault.from(thrown)
    t.match(made, { kind: 'internal', message: 'a bug of the proxy' })
    t.equal(made.cause, thrown)
  }
  t.match(Fault.from(undefined), { kind: 'internal' })
  t.ok(fault instanceof Error)
  t.equal(fault.name, 'Fault')
})

t.test('exit codes are those of sysexits', async t => {
  const exits = Object.fromEntries(
    kinds.filter(kind => 'exit' in row(kind)).map(kind => [kind, toExitCode(new Fault(kind))]),
  )
  t.same(exits, { 'listener/address-unavailable': 69, 'config/invalid': 78, usage: 64, internal: 70 })
  t.equal(toExitCode(new Fault('sts/refused')), 70, 'none that ends a program is unforeseen')
})

t.test('the code of an error is its text, and of anything else there is none', async t => {
  t.equal(errorCode(Object.assign(new Error('no such file'), { code: 'ENOENT' })), 'ENOENT')
  t.equal(errorCode(Object.assign(new Error('aborted'), { code: 20 })), undefined)
  for (const other of [new Error('no code'), { code: 'ENOENT' }, 'ENOENT', null, undefined]) {
    t.equal(errorCode(other), undefined)
  }
})
