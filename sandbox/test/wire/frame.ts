import t from 'tap'
import { encodeFrame, FrameSplitter, OP_MSG } from '../../src/wire/frame.js'

const one = encodeFrame(OP_MSG, 7, 0, [Buffer.from('first')])
const two = encodeFrame(OP_MSG, 8, 7, [Buffer.from('sec'), Buffer.from('ond')])

t.test('two frames are found wherever the stream is split', async t => {
  const stream = Buffer.concat([one, two])
  for (let first = 0; first <= stream.length; first++) {
    for (let second = first; second <= stream.length; second++) {
      const splitter = new FrameSplitter(1000)
      const chunks = [stream.subarray(0, first), stream.subarray(first, second), stream.subarray(second)]
      const frames = chunks.flatMap(chunk => splitter.push(chunk))
      if (frames.length !== 2 || !frames[0]?.bytes.equals(one) || !frames[1]?.bytes.equals(two)) {
        t.fail(`split at ${first} and ${second}`)
      }
    }
  }
  t.match(new FrameSplitter(1000).push(two), [{ requestID: 8, responseTo: 7, opCode: OP_MSG }])
})

t.test('a length that is too small or too large is an error before the frame is complete', async t => {
  for (const length of [0, 15, -1, 101, 2 ** 31 - 1]) {
    const bytes = Buffer.alloc(4)
    bytes.writeInt32LE(length)
    t.throws(() => new FrameSplitter(100).push(bytes), { code: 'malformedMessage' }, String(length))
  }
  t.same(new FrameSplitter(100).push(Buffer.from([100, 0, 0, 0])), [])
})
