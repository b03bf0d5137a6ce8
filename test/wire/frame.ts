import t from 'tap'
import { type Frame, Framer, writeFrame } from '../../src/wire/frame.js'
import { faultOf } from '../support/faults.js'

const all = (framer: Framer, ...chunks: Buffer[]): Frame[] => chunks.flatMap(chunk => [...framer.push(chunk)])
const hello = writeFrame(2013, 7, 0, [Buffer.from('first body')])
const ping = writeFrame(2004, 8, 7, [Buffer.from('second')])
const both = Buffer.concat([hello, ping])

t.test('two frames in one chunk are split', async t => {
  const frames = all(new Framer(1000), both)
  t.match(frames, [
    { requestID: 7, responseTo: 0, opCode: 2013 },
    { requestID: 8, responseTo: 7, opCode: 2004 },
  ])
  t.same(Buffer.concat(frames.map(f => f.bytes)), both)
})

t.test('every split into three chunks gives the same frames', async t => {
  for (let a = 0; a <= both.length; a++) {
    for (let b = a; b <= both.length; b++) {
      const frames = all(new Framer(1000), both.subarray(0, a), both.subarray(a, b), both.subarray(b))
      if (frames.length !== 2 || !Buffer.concat(frames.map(f => f.bytes)).equals(both)) t.fail(`cut at ${a} and ${b}`)
    }
  }
  t.pass()
})

t.test('single bytes give the same frames', async t => {
  t.equal(all(new Framer(1000), ...[...both].map(byte => Buffer.of(byte))).length, 2)
})

t.test('a length out of range is a fault before the body arrives', async t => {
  for (const length of [0, 15, -1, 2 ** 31 - 1, 1001]) {
    const header = Buffer.alloc(4)
    header.writeInt32LE(length)
    t.equal(faultOf(() => all(new Framer(1000), header))?.kind, 'frame/length', `${length}`)
  }
})

t.test('the protocol of another client is guessed for the log', async t => {
  t.match(faultOf(() => all(new Framer(1000), Buffer.from('GET / HTTP/1.1\r\n')))?.facts, { looksLike: 'HTTP' })
  t.match(faultOf(() => all(new Framer(1000), Buffer.from('1603010200', 'hex')))?.facts, { looksLike: 'TLS' })
})

t.test('unread bytes are returned', async t => {
  const framer = new Framer(1000)
  for (const first of framer.push(both)) {
    t.same(first.bytes, hello)
    break
  }
  t.same(framer.takeRest(), ping)
  t.equal(framer.bufferedBytes, 0)
})
