import { randomBytes } from 'node:crypto'
import { readFileSync } from 'node:fs'
import t, { type Test } from 'tap'
import { createIam } from '../../sandbox/src/aws/iam.js'
import { startSts } from '../../sandbox/src/aws/sts.js'
import { type Proof, validateProof } from '../../src/identity/proof.js'
import { createStsClient, type StsClientOptions, type StsOutcome } from '../../src/identity/sts.js'
import { Secret } from '../../src/log.js'
import { faultOf, faultOfAsync } from '../support/faults.js'
import { type Answer, startHttpServer } from '../support/httpServer.js'
import { alice, type Credentials, challenge, date, orders, signAsDriver } from '../support/proofs.js'
import { ALICE, errorXML, identityXML, REQUEST_ID } from '../support/stsReplies.js'

const HOST = challenge.host
const SECOND = 'sts.us-east-1.amazonaws.com'
const proof = validateProof(await signAsDriver(orders), challenge, date)
const elsewhere = { ...challenge, host: SECOND }
const proofForSecond = validateProof(await signAsDriver(alice, elsewhere), elsewhere, date)
/** A signal that is never aborted. Each call has its own: Node.js warns when many listen to one. */
const never = () => new AbortController().signal
/** A timeout in milliseconds that no test reaches. */
const LONG = 5000
const pem = (name: string) => readFileSync(new URL(`../support/tls/${name}`, import.meta.url), 'utf8')

const respond =
  (status: number, text: string, headers: Record<string, string> = {}): Answer =>
  response =>
    response.writeHead(status, { 'Content-Type': 'text/xml', ...headers }).end(text)
const respondIdentity = respond(200, identityXML())

/** An STS server with this answer, and a client that calls it for both hosts. */
async function createPair(t: Test, answer: Answer, options: Partial<StsClientOptions> = {}) {
  const server = await startHttpServer(t, answer)
  const connect = { host: '127.0.0.1', port: server.port }
  const hosts = [HOST, SECOND].map(host => ({ host, connect, insecure: true }))
  const sts = createStsClient({
    hosts,
    timeoutMS: 60_000,
    userAgent: 'mongo-iam-proxy/test',
    now: Date.now,
    ...options,
  })
  t.teardown(() => sts.close())
  return { server, sts }
}

/** The outcome of a call when STS gives this answer. */
async function outcome(
  t: Test,
  answer: Answer,
  of: Proof = proof,
  options: Partial<StsClientOptions> = {},
): Promise<StsOutcome> {
  const { sts } = await createPair(t, answer, options)
  return sts.getCallerIdentity(of, LONG, never())
}

t.test('the client sends the signed request and returns the identity', async t => {
  const { server, sts } = await createPair(t, respondIdentity)
  t.match(await sts.getCallerIdentity(proof, LONG, never()), { is: 'identity', identity: { arn: ALICE.Arn } })
  const [call] = server.calls
  t.match(call, { method: 'POST', url: '/', body: 'Action=GetCallerIdentity&Version=2011-06-15' })
  const { connection, ...headers } = call?.headers ?? {}
  t.same(headers, {
    host: HOST,
    'content-type': 'application/x-www-form-urlencoded',
    'content-length': '43',
    'x-amz-date': '20260813T120000Z',
    'x-amz-security-token': orders.sessionToken,
    'x-mongodb-server-nonce': challenge.nonce.toString('base64'),
    'x-mongodb-gs2-cb-flag': 'n',
    authorization: (await signAsDriver(orders)).a,
    'user-agent': 'mongo-iam-proxy/test',
  })
  t.equal(connection, 'keep-alive')
})

t.test('sockets are reused, for one call at a time', async t => {
  const { server, sts } = await createPair(t, respondIdentity, { maxSockets: 3 })
  for (let round = 0; round < 3; round++) {
    const outcomes = await Promise.all(Array.from({ length: 20 }, () => sts.getCallerIdentity(proof, LONG, never())))
    t.ok(outcomes.every(({ is }) => is === 'identity'))
  }
  t.ok(server.opened() <= 3, `${server.opened()} sockets for 60 calls`)
})

t.test('a closed list of codes means refused', async t => {
  for (const code of [
    'InvalidClientTokenId',
    'ExpiredToken',
    'SignatureDoesNotMatch',
    'MissingAuthenticationToken',
    'AccessDenied',
    'RegionDisabledException',
  ]) {
    const expected = { is: 'refused', code, message: 'A sentence.', requestId: REQUEST_ID }
    t.same(await outcome(t, respond(403, errorXML(code))), expected, code)
  }
  const echo = errorXML('IncompleteSignature', (await signAsDriver(orders)).a)
  t.same(await outcome(t, respond(400, echo)), { is: 'refused', code: 'IncompleteSignature', requestId: REQUEST_ID })
})

t.test('a message of AWS that repeats a secret is dropped', async t => {
  for (const secret of [orders.sessionToken, proof.signature.reveal(), challenge.nonce.toString('base64')]) {
    const said = await outcome(t, respond(403, errorXML('SignatureDoesNotMatch', `We got ${secret}.`)))
    t.same(said, { is: 'refused', code: 'SignatureDoesNotMatch', requestId: REQUEST_ID })
  }
})

t.test('every form of a throttle is recognized', async t => {
  for (const [status, code] of [
    [400, 'Throttling'],
    [400, 'ThrottlingException'],
    [503, 'RequestLimitExceeded'],
    [503, 'Throttling'],
    [429, 'Throttling'],
  ] as const) {
    t.same(await outcome(t, respond(status, errorXML(code))), { is: 'throttled', code }, `${status} ${code}`)
  }
  t.same(await outcome(t, respond(429, '')), { is: 'throttled', code: 'TooManyRequests' })
})

t.test('text that AWS repeats from the request is no throttle', async t => {
  const echo = respond(400, errorXML('IncompleteSignature', '&lt;Code&gt;Throttling&lt;/Code&gt; Rate exceeded'))
  t.equal((await outcome(t, echo)).is, 'refused')
  t.equal((await outcome(t, respond(400, '<html>Throttling</html>'))).is, 'unavailable')
})

t.test('anything else is an outage, never a bad identity', async t => {
  const html = '<html><body>Blocked</body></html>'
  const outages: [name: string, next: string, answer: Answer][] = [
    ['a 403 page of a firewall', 'none', respond(403, html, { 'Content-Type': 'text/html' })],
    ['an empty 413', 'none', respond(413, '')],
    ['an unknown code', 'none', respond(400, errorXML('ValidationError'))],
    ['a listed code with 5xx', 'retry', respond(500, errorXML('ExpiredToken'))],
    ['503 without a code', 'retry', respond(503, html)],
    ['HTML with 200', 'none', respond(200, html, { 'Content-Type': 'text/html' })],
    ['an identity as HTML', 'none', respond(200, identityXML(), { 'Content-Type': 'text/html' })],
    ['JSON with 200', 'none', respond(200, '{}')],
    ['an error with 200', 'none', respond(200, errorXML('ExpiredToken'))],
    ['an identity with 201', 'none', respond(201, identityXML())],
    ['an identity with 403', 'none', respond(403, identityXML())],
    ['a reset', 'retry', response => response.destroy()],
    ['half an answer', 'retry', response => response.writeHead(200).write('<Get', () => response.destroy())],
  ]
  for (const [name, next, answer] of outages) {
    t.match(await outcome(t, answer), { is: 'unavailable', next }, name)
  }
})

t.test('an unreachable STS is an outage', async t => {
  const sts = createStsClient({
    hosts: [{ host: HOST, connect: { host: '127.0.0.1', port: 1 }, insecure: true }],
    timeoutMS: 60_000,
    userAgent: 'test',
    now: Date.now,
  })
  t.teardown(() => sts.close())
  t.match(await sts.getCallerIdentity(proof, LONG, never()), { is: 'unavailable', why: /ECONNREFUSED/, next: 'retry' })
})

t.test('redirects are not followed', async t => {
  const decoy = await startHttpServer(t, respondIdentity)
  for (const status of [301, 302, 307, 308]) {
    const said = await outcome(t, respond(status, '', { Location: `http://127.0.0.1:${decoy.port}/` }))
    t.match(said, { is: 'unavailable', why: `it answered ${status}` })
  }
  t.equal(decoy.calls.length, 0)
})

t.test('proxies of the environment are not used', async t => {
  const decoy = await startHttpServer(t, respondIdentity)
  const names = ['HTTP_PROXY', 'HTTPS_PROXY', 'ALL_PROXY', 'http_proxy', 'https_proxy', 'all_proxy']
  for (const name of [...names, 'NODE_USE_ENV_PROXY']) {
    const before = process.env[name]
    process.env[name] = name.startsWith('NODE') ? '1' : `http://127.0.0.1:${decoy.port}`
    t.teardown(() => {
      if (before === undefined) delete process.env[name]
      else process.env[name] = before
    })
  }
  t.equal((await outcome(t, respondIdentity)).is, 'identity')
  t.equal(decoy.calls.length, 0)
})

t.test('an unknown key at another host than the first is no refusal', async t => {
  for (const code of ['InvalidClientTokenId', 'RegionDisabledException']) {
    t.match(
      await outcome(t, respond(403, errorXML(code)), proofForSecond),
      { is: 'unavailable', next: 'first-host' },
      code,
    )
  }
  const expired = respond(403, errorXML('ExpiredToken'))
  t.match(await outcome(t, expired, proofForSecond), { is: 'refused', code: 'ExpiredToken' })
})

t.test('a host that is no longer offered is not called', async t => {
  const { server, sts } = await createPair(t, respondIdentity)
  const formerProof = { ...proof, challenge: { ...challenge, host: 'sts.eu-west-3.amazonaws.com' } }
  t.match(await sts.getCallerIdentity(formerProof, LONG, never()), { is: 'unavailable', next: 'first-host' })
  t.equal(server.calls.length, 0)
})

t.test('an ARN of another partition is a fault', async t => {
  const china = identityXML({ ...ALICE, Arn: 'arn:aws-cn:iam::123456789012:user/alice' })
  const { sts } = await createPair(t, respond(200, china))
  t.equal((await faultOfAsync(() => sts.getCallerIdentity(proof, LONG, never())))?.kind, 'identity/partition-mismatch')
})

t.test('an answer of more than 64 KiB is rejected and its socket closed', async t => {
  const { server, sts } = await createPair(t, response => {
    response.writeHead(200, { 'Content-Type': 'text/xml' })
    response.write(identityXML())
    const more = () => response.destroyed || response.write('\n'.repeat(8192), () => setImmediate(more))
    more()
  })
  t.match(await sts.getCallerIdentity(proof, LONG, never()), { is: 'unavailable', why: /longer than 65536/ })
  await server.quiet()
  const { sts: other } = await createPair(t, respond(200, `${identityXML()}${' '.repeat(60 * 1024)}`))
  t.equal((await other.getCallerIdentity(proof, LONG, never())).is, 'identity')
})

t.test('a missing or unfinished answer times out and its socket is closed', async t => {
  const silent: Answer = () => {}
  const endless: Answer = response => response.writeHead(200, { 'Content-Type': 'text/xml' }).write('<')
  for (const answer of [silent, endless]) {
    const { server, sts } = await createPair(t, answer)
    t.match(await sts.getCallerIdentity(proof, 50.4, never()), {
      is: 'unavailable',
      why: 'no answer within 50 ms',
      next: 'retry',
    })
    await server.quiet()
    const { server: second, sts: impatient } = await createPair(t, answer, { timeoutMS: 50 })
    t.match(await impatient.probe(HOST, never()), { why: 'no answer within 50 ms', next: 'retry' })
    await second.quiet()
  }
})

t.test('each call has its own timeout', async t => {
  const released = deferred()
  const { sts } = await createPair(
    t,
    (response, call) => void released.promise.then(() => respondIdentity(response, call)),
  )
  const short = sts.getCallerIdentity(proof, 50, never())
  const long = sts.getCallerIdentity(proof, LONG, never())
  t.match(await short, { is: 'unavailable', why: 'no answer within 50 ms' })
  released.resolve(undefined)
  t.equal((await long).is, 'identity')
})

t.test('the timer of a call is cleared when the call is answered or aborted', async t => {
  const TIMEOUT = 600_001
  const { setTimeout: start, clearTimeout: clear } = globalThis
  const timers = new Set<unknown>()
  t.intercept(globalThis, 'setTimeout', {
    value: (run: () => void, ms: number) => {
      const timer = start(run, ms)
      if (ms === TIMEOUT) timers.add(timer)
      return timer
    },
  })
  t.intercept(globalThis, 'clearTimeout', {
    value: (timer: NodeJS.Timeout) => {
      timers.delete(timer)
      clear(timer)
    },
  })
  const { sts } = await createPair(t, respondIdentity)
  const answered = sts.getCallerIdentity(proof, TIMEOUT, never())
  t.equal(timers.size, 1)
  await answered
  t.equal(timers.size, 0)
  const abort = new AbortController()
  const aborted = sts.getCallerIdentity(proof, TIMEOUT, abort.signal)
  t.equal(timers.size, 1)
  abort.abort(new Error('client left'))
  await t.rejects(aborted, { message: 'client left' })
  t.equal(timers.size, 0)
})

t.test('an aborted call closes its socket at once and makes room for the next call', async t => {
  let calls = 0
  const arrived = deferred()
  const { server, sts } = await createPair(
    t,
    (response, call) => (calls++ === 0 ? arrived.resolve(undefined) : respondIdentity(response, call)),
    { maxSockets: 1 },
  )
  const first = new AbortController()
  const call = sts.getCallerIdentity(proof, LONG, first.signal)
  await arrived.promise
  const queued = new AbortController()
  const waiting = sts.getCallerIdentity(proof, LONG, queued.signal)
  queued.abort(new Error('aborted in the queue'))
  await t.rejects(waiting, { message: 'aborted in the queue' }, 'it does not wait for the call before it')
  first.abort(new Error('left'))
  await t.rejects(call, { message: 'left' })
  t.equal((await sts.getCallerIdentity(proof, LONG, never())).is, 'identity')
  t.equal(calls, 2, 'a call that is aborted in the queue is never sent')
  t.ok(server.opened() >= 2, 'the socket of an aborted call is not reused')
  await t.rejects(
    sts.getCallerIdentity(proof, LONG, first.signal),
    { message: 'left' },
    'a call with an aborted signal is never sent',
  )
})

t.test('two hundred aborted calls leave the pool usable', async t => {
  let open = false
  const { sts } = await createPair(t, (response, call) => open && respondIdentity(response, call), { maxSockets: 2 })
  const aborts = Array.from({ length: 200 }, () => new AbortController())
  const results = Promise.allSettled(aborts.map(({ signal }) => sts.getCallerIdentity(proof, LONG, signal)))
  for (const one of aborts) one.abort()
  t.ok((await results).every(({ status }) => status === 'rejected'))
  open = true
  t.equal((await sts.getCallerIdentity(proof, LONG, never())).is, 'identity')
})

t.test('after two hundred hostile proofs, the next valid one succeeds', async t => {
  const { server, sts } = await createPair(t, respondIdentity, { maxSockets: 2 })
  const hostile = ['\r\n', '\n', '\r', '\0', 'Ā', '\u2028', '\x7f', ' \r\nX-Vault-AWS-IAM-Server-ID: x']
  const fields = await signAsDriver(orders)
  for (let n = 0; n < 200; n++) {
    const bad = hostile[n % hostile.length] as string
    const by = [
      { ...fields, a: fields.a + bad },
      { ...fields, d: fields.d + bad },
      { ...fields, t: fields.t + bad },
    ][n % 3] as typeof fields
    const thrown = await faultOfAsync(async () =>
      sts.getCallerIdentity(validateProof(by, challenge, date), LONG, never()),
    )
    if (thrown?.kind !== 'proof/malformed') t.fail(`${n}: ${thrown?.kind}`)
  }
  t.equal(server.calls.length, 0)
  for (let n = 0; n < 200; n++) {
    const forged = { ...proof, token: new Secret(`token${hostile[n % hostile.length]}`) }
    const thrown = await faultOfAsync(() => sts.getCallerIdentity(forged, LONG, never()))
    if (thrown?.kind !== 'internal') t.fail(`not validated ${n}: ${thrown?.kind}`)
  }
  t.equal(server.calls.length, 0, 'not even a proof that was not validated')
  t.equal((await sts.getCallerIdentity(proof, LONG, never())).is, 'identity')
})

t.test('only answers of STS set the clock skew', async t => {
  const now = Date.UTC(2026, 7, 13, 12, 0, 0)
  const by = (ms: number) => ({ Date: new Date(now + ms).toUTCString() })
  const skew = async (answer: Answer) => {
    const { sts } = await createPair(t, answer, { now: () => now })
    t.equal(sts.clockSkewMS(), 0)
    await sts.getCallerIdentity(proof, LONG, never())
    return sts.clockSkewMS()
  }
  t.equal(await skew(respond(200, identityXML(), by(3600_000))), 3600_500)
  t.equal(await skew(respond(200, identityXML(), by(-20 * 60_000))), -20 * 60_000 + 500)
  t.equal(await skew(respond(403, errorXML('SignatureDoesNotMatch'), by(60_000))), 60_500)
  t.equal(await skew(respond(403, '<html></html>', by(60_000))), 0, 'a firewall')
  t.equal(await skew(respond(200, identityXML(), by(25 * 3600_000))), 0, 'more than a day')
  for (const nonsense of ['', 'soon', '2026-08-13', '0', 'Thu, 31 Feb 2026 12:00:00 GMT']) {
    t.equal(await skew(respond(200, identityXML(), { Date: nonsense })), 0, nonsense)
  }
})

t.test('a host can be probed without credentials', async t => {
  const { server, sts } = await createPair(t, respond(403, errorXML('MissingAuthenticationToken')))
  t.equal(await sts.probe(HOST, never()), undefined)
  t.notOk(server.calls[0]?.headers.authorization)
  t.match(await sts.probe('example.com', never()), { why: /not one of the hosts/ })
  const { sts: firewalled } = await createPair(t, respond(403, '<html></html>'))
  t.match(await firewalled.probe(HOST, never()), { why: 'it answered 403', next: 'none' })
})

t.test('TLS verifies the offered host, whatever address is dialled', async t => {
  const offered = { nonce: challenge.nonce, host: 'upstream.test' }
  const by = validateProof(await signAsDriver(alice, offered), offered, date)
  const ask = async (certificate: string, ca: string | undefined) => {
    const server = await startHttpServer(t, respondIdentity, { key: pem(certificate), cert: pem(certificate) })
    const sts = createStsClient({
      hosts: [{ host: offered.host, connect: { host: '127.0.0.1', port: server.port } }],
      timeoutMS: 60_000,
      userAgent: 'test',
      now: Date.now,
      ...(ca !== undefined && { ca }),
    })
    t.teardown(() => sts.close())
    return { said: await sts.getCallerIdentity(by, LONG, never()), calls: server.calls }
  }
  const good = await ask('upstream.pem', pem('ca.pem'))
  t.equal(good.said.is, 'identity')
  t.match(good.calls[0], { servername: 'upstream.test', headers: { host: 'upstream.test' } })
  const misnamed = await ask('misnamed.pem', pem('ca.pem'))
  t.match(misnamed.said, { is: 'unavailable', why: /ERR_TLS_CERT_ALTNAME_INVALID/ })
  const unknown = await ask('upstream.pem', undefined)
  t.match(unknown.said, { is: 'unavailable', why: /UNABLE_TO_VERIFY_LEAF_SIGNATURE|SELF_SIGNED/ })
  t.equal(misnamed.calls.length + unknown.calls.length, 0, 'no proof was sent to an unverified host')
})

t.test('plain http is allowed to loopback addresses only', async t => {
  for (const connect of [undefined, { host: '10.0.0.1', port: 80 }, { host: 'sts.test', port: 80 }]) {
    const create = () =>
      createStsClient({
        hosts: [{ host: HOST, connect, insecure: true }],
        timeoutMS: 1,
        userAgent: 'test',
        now: Date.now,
      })
    t.equal(faultOf(create)?.kind, 'config/invalid')
  }
})

t.test('closing ends calls in flight', async t => {
  const { server, sts } = await createPair(t, () => {})
  const call = sts.getCallerIdentity(proof, LONG, never())
  await sts.close()
  t.equal((await call).is, 'unavailable')
  await server.quiet()
})

t.test('an STS that verifies signatures accepts the rebuilt requests', async t => {
  const aws = createIam({ random: randomBytes, now: () => date.getTime() })
  const sandbox = await startSts({ iam: aws, now: () => date.getTime() })
  t.teardown(() => sandbox.close())
  const sts = createStsClient({
    hosts: [{ host: HOST, connect: { host: '127.0.0.1', port: sandbox.port }, insecure: true }],
    timeoutMS: 60_000,
    userAgent: 'test',
    now: () => date.getTime() - 60_000,
  })
  t.teardown(() => sts.close())
  const ask = async (by: Credentials) =>
    sts.getCallerIdentity(validateProof(await signAsDriver(by), challenge, date), LONG, never())
  const alan = aws.createUser({ account: ALICE.Account, name: 'alan', path: '/r&d/' })
  const reader = aws.createRole({ account: ALICE.Account, name: 'reader', path: '/a/' })
  const key = aws.createAccessKey(alan)
  const session = aws.assumeRole(reader, 'alan')
  t.match(await ask(key), { identity: { arn: alan.arn, canonical: alan.arn, principalId: alan.id } })
  t.match(await ask(aws.sessionOf(alan)), { identity: { arn: alan.arn, kind: 'user' } })
  t.match(await ask(session), {
    identity: { canonical: 'arn:aws:iam::123456789012:role/reader', principalId: reader.id, session: 'alan' },
  })
  t.match(await ask(aws.federate(alan, 'bob')), { identity: { kind: 'federated-user', name: 'bob' } })
  t.match(await ask(aws.createAccessKey(aws.root(ALICE.Account))), { identity: { kind: 'root' } })
  t.equal(sts.clockSkewMS(), 60_500)
  for (const [by, code] of [
    [alice, 'InvalidClientTokenId'],
    [{ ...key, secretAccessKey: 'guessed' }, 'SignatureDoesNotMatch'],
    [{ ...session, sessionToken: aws.sessionOf(alan).sessionToken }, 'InvalidClientTokenId'],
    [aws.assumeRole(reader, 'alan', -1), 'ExpiredToken'],
  ] as const) {
    t.match(await ask(by), { is: 'refused', code, message: /./ }, code)
  }
  t.equal(await sts.probe(HOST, never()), undefined)
})

function deferred() {
  let resolve: (value: unknown) => void = () => {}
  const promise = new Promise(settle => {
    resolve = settle
  })
  return { promise, resolve }
}
