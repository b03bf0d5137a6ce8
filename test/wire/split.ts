import { serialize } from 'bson'
import fc from 'fast-check'
import t from 'tap'
import { Fault } from '../../src/errors.js'
import { crc32c } from '../../src/wire/crc32c.js'
import { OP_COMPRESSED, OP_MSG, OP_QUERY, OP_REPLY, writeFrame } from '../../src/wire/frame.js'
import { MORE_TO_COME, writeMessage } from '../../src/wire/message.js'
import { type ForwardedRequest, ReplySplitter, RequestSplitter } from '../../src/wire/split.js'
import { faultOf } from '../support/faults.js'

const LIMIT = 48_000_000
const int32 = (value: number) => {
  const bytes = Buffer.alloc(4)
  bytes.writeInt32LE(value)
  return bytes
}
const body = (command: object) => Buffer.concat([Buffer.of(0), serialize({ ...command, $db: 'app' })])
const sequence = (() => {
  const documents = Buffer.concat([Buffer.from('documents\0'), serialize({ _id: 1 }), serialize({ _id: 'two' })])
  return Buffer.concat([Buffer.of(1), int32(documents.length + 4), documents])
})()
const message = (id: number, flags: number, ...sections: Uint8Array[]) =>
  writeFrame(OP_MSG, id, 0, [int32(flags), ...sections])
const query = (id: number, document: object) =>
  writeFrame(OP_QUERY, id, 0, [int32(4), Buffer.from('admin.$cmd\0'), int32(0), int32(-1), serialize(document)])

/** The results of all chunks of a stream. */
function splitAll(chunks: Buffer[], splitter = new RequestSplitter(LIMIT)) {
  const forward: Buffer[] = []
  const requests: ForwardedRequest[] = []
  const intercepted: string[] = []
  for (let chunk of chunks) {
    for (;;) {
      const result = splitter.split(chunk)
      forward.push(...result.forward)
      requests.push(...result.requests)
      if (!result.intercepted) break
      intercepted.push(result.intercepted.is === 'refused' ? result.intercepted.name : result.intercepted.is)
      chunk = result.rest
    }
  }
  return {
    forward: Buffer.concat(forward),
    requests: requests.map(r => r.requestID),
    intercepted,
    midFrame: splitter.midFrame,
  }
}
const kind = (...frames: Buffer[]) => faultOf(() => splitAll(frames))?.kind

const find = message(1, 0, body({ find: 'c' }))
const insert = message(2, 0, body({ insert: 'c' }), sequence)
const reversed = message(3, 0, sequence, body({ insert: 'c' }))
const checked = (() => {
  const bytes = message(4, 1, body({ ping: 1 }), int32(0))
  bytes.writeUInt32LE(crc32c(bytes.subarray(0, -4)), bytes.length - 4)
  return bytes
})()
const quiet = message(5, 2, body({ insert: 'c', writeConcern: { w: 0 } }), sequence)
const hello = message(6, 0, body({ hello: 1, helloOk: true }))
const logout = message(7, 0, body({ logout: 1 }))
const old = query(8, { isMaster: 1 })

t.test('allowed requests are forwarded byte for byte, and listed', async t => {
  const stream = Buffer.concat([find, insert, reversed, checked, quiet])
  t.same(splitAll([stream]), { forward: stream, requests: [1, 2, 3, 4, 5], intercepted: [], midFrame: false })
})

t.test('hello and refused commands are intercepted in order, and the frames after them are forwarded', async t => {
  const result = splitAll([Buffer.concat([find, hello, insert, logout, reversed, old, find])])
  t.same(result.forward, Buffer.concat([find, insert, reversed, find]))
  t.same(result.intercepted, ['hello', 'logout', 'hello'])
})

t.test('every split into three chunks gives the same result', async t => {
  const stream = Buffer.concat([reversed, hello, checked, logout, old, find])
  const whole = splitAll([stream])
  for (let a = 0; a <= stream.length; a++) {
    for (let b = a; b <= stream.length; b += 7) {
      const cut = splitAll([stream.subarray(0, a), stream.subarray(a, b), stream.subarray(b)])
      if (!cut.forward.equals(whole.forward) || `${cut.intercepted}` !== `${whole.intercepted}`)
        t.fail(`cut at ${a} and ${b}`)
    }
  }
  t.same(splitAll([...stream].map(byte => Buffer.of(byte))), whole, 'and so do single bytes')
})

t.test('a document of 16 MB is forwarded without buffering', async t => {
  const splitter = new RequestSplitter(LIMIT)
  const big = message(1, 0, body({ insert: 'c', documents: [{ text: 'x'.repeat(16_000_000) }] }))
  let forwarded = 0
  for (let at = 0; at < big.length; at += 65536) {
    const chunk = big.subarray(at, at + 65536)
    for (const bytes of splitter.split(chunk).forward) forwarded += bytes.length
    if (forwarded !== Math.min(at + 65536, big.length)) t.fail('buffered')
  }
  t.equal(forwarded, big.length)
})

t.test('no form of a refused command is forwarded', async t => {
  for (const name of [
    'saslStart',
    'saslContinue',
    'authenticate',
    'logout',
    'getnonce',
    'copydbgetnonce',
    'copydbsaslstart',
    'SASLSTART',
    'HELLO',
    'isMAster',
    '$query',
    'query',
  ]) {
    const result = splitAll([message(1, 0, body({ [name]: 1 })), find])
    t.same(result, { forward: find, requests: [1], intercepted: [name], midFrame: false }, name)
    t.equal(kind(message(1, 2, body({ [name]: 1 }))), 'command/forbidden', `${name} with moreToCome closes`)
    t.equal(kind(message(1, 0, sequence, body({ [name]: 1 }))), 'command/forbidden', `${name} after a sequence closes`)
    t.equal(
      kind(message(1, 0, body({ insert: 'c' }), body({ [name]: 1 }))),
      'message/malformed',
      `${name} as a second body closes`,
    )
    t.equal(kind(query(1, { [name]: 1 })), 'command/forbidden', `${name} by OP_QUERY closes`)
    t.equal(kind(query(1, { $query: { [name]: 1 } })), 'command/forbidden', `${name} in $query closes`)
    t.equal(kind(query(1, { query: { [name]: 1 } })), 'command/forbidden', `${name} in query closes`)
  }
  t.same(splitAll([query(1, { $query: { ismaster: 1 } }), query(2, { query: { hello: 1 } })]).intercepted, [
    'hello',
    'hello',
  ])
})

t.test('if a frame is refused after its beginning was forwarded, its last byte never goes upstream', async t => {
  for (const bad of [
    message(1, 0, sequence, body({ logout: 1 })),
    message(1, 0, body({ insert: 'c' }), body({ logout: 1 })),
  ]) {
    const splitter = new RequestSplitter(LIMIT)
    let forwarded = 0
    t.ok(
      faultOf(() => {
        for (const byte of bad) for (const bytes of splitter.split(Buffer.of(byte)).forward) forwarded += bytes.length
      }),
    )
    t.ok(forwarded < bad.length)
  }
})

t.test('malformed frames are faults', async t => {
  const wrongSize = Buffer.from(find)
  wrongSize.writeInt32LE(find.length, 21)
  const short = Buffer.from(insert)
  short.writeInt32LE(insert.length - 3, 0)
  t.equal(kind(wrongSize), 'message/malformed', 'a size beyond the frame')
  t.equal(kind(short), 'message/malformed', 'a frame shorter than its sections')
  t.equal(kind(message(1, 0, sequence)), 'message/malformed', 'no body')
  t.equal(kind(message(1, 0, sequence, sequence)), 'message/malformed', 'no body after two sequences')
  t.equal(
    kind(message(1, 0, Buffer.concat([Buffer.of(2), body({ ping: 1 }).subarray(1)]))),
    'message/malformed',
    'kind 2',
  )
  t.equal(kind(message(1, 0, Buffer.of(0), int32(5), Buffer.of(0))), 'message/malformed', 'an empty body')
  t.equal(kind(writeFrame(OP_MSG, 1, 0, [int32(0)])), 'message/malformed', 'no section')
  t.equal(kind(writeFrame(OP_COMPRESSED, 1, 0, [int32(OP_MSG)])), 'message/compressed')
  t.equal(kind(writeFrame(2002, 1, 0, [int32(0)])), 'frame/opcode')
  for (const length of [0, 15, -1, LIMIT + 1]) t.equal(kind(int32(length)), 'frame/length', `${length}`)
})

t.test('random bytes after a valid header give bytes or a fault', async t => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 120 }), fc.nat(119), (bytes, cut) => {
      const stream = writeFrame(OP_MSG, 1, 0, [bytes])
      try {
        const { forward, intercepted } = splitAll([stream.subarray(0, cut), stream.subarray(cut)])
        if (intercepted.length === 0 && forward.length > stream.length) throw new Error('more out than in')
      } catch (thrown) {
        if (!(thrown instanceof Fault) || thrown.kind === 'internal') throw thrown
      }
    }),
    { numRuns: 2000 },
  )
  t.pass()
})

t.test('replies are forwarded byte for byte, and listed when they are complete, however they are split', async t => {
  const stream = Buffer.concat([
    writeMessage({ ok: 1 }, 10, 1),
    writeMessage({ ok: 1 }, 11, 2, 2),
    writeMessage({ ok: 1 }, 12, 11),
  ])
  const expected = [
    { requestID: 10, responseTo: 1, moreToCome: false },
    { requestID: 11, responseTo: 2, moreToCome: true },
    { requestID: 12, responseTo: 11, moreToCome: false },
  ]
  for (let cut = 0; cut <= stream.length; cut++) {
    const splitter = new ReplySplitter(LIMIT)
    const results = [stream.subarray(0, cut), stream.subarray(cut)].map(chunk => splitter.split(chunk))
    t.same(
      results.flatMap(each => each.replies),
      expected,
    )
    t.same(Buffer.concat(results.map(each => each.forward)), stream)
    t.notOk(splitter.midFrame)
  }
})

t.test('a wrong length or opcode of the upstream is a fault', async t => {
  const reply = writeMessage({ ok: 1 }, 1, 1)
  for (const length of [0, 15, 25, -1, LIMIT + 1]) {
    const wrongSize = Buffer.from(reply)
    wrongSize.writeInt32LE(length, 0)
    t.equal(faultOf(() => new ReplySplitter(LIMIT).split(wrongSize))?.kind, 'upstream/protocol-error')
  }
  for (const opCode of [OP_REPLY, OP_COMPRESSED, 7]) {
    const other = Buffer.from(reply)
    other.writeInt32LE(opCode, 12)
    t.equal(faultOf(() => new ReplySplitter(LIMIT).split(other))?.kind, 'upstream/protocol-error')
  }
})

t.test('with interceptCommands, messages of up to 64 KiB that expect a reply are offered', async t => {
  const intercepting = () => Object.assign(new RequestSplitter(LIMIT), { interceptCommands: true })
  const request = (id: number, command: object, flags = 0) => writeMessage({ ...command, $db: 'a' }, id, 0, flags)
  const small = request(1, { find: 'c', autocommit: false })
  const long = request(2, { insert: 'c', text: 'x'.repeat(70_000) })
  const others = [{ saslStart: 1 }, { logout: 1 }, { hello: 1 }].map(command => request(3, command))
  const stream = Buffer.concat([small, ...others, long, small])
  for (const cut of [1, 16, 20, 21, 30, small.length, small.length + 5, stream.length]) {
    const { forward, requests, intercepted, midFrame } = splitAll(
      [stream.subarray(0, cut), stream.subarray(cut)],
      intercepting(),
    )
    t.same(intercepted, ['offered', 'login', 'logout', 'hello', 'offered'], `cut at ${cut}`)
    t.same(requests, [2])
    t.same(forward, long)
    t.equal(midFrame, false)
  }
  const { intercepted, requests } = splitAll([request(5, { insert: 'c' }, MORE_TO_COME)], intercepting())
  t.same([intercepted, requests], [[], [5]], 'this request has no reply')
  t.match(intercepting().split(small).intercepted, {
    is: 'offered',
    summary: { name: 'find', inTransaction: true },
    request: { requestID: 1 },
    bytes: small,
  })
})
