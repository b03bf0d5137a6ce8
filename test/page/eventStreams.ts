import t from 'tap'
import type { ResponseStream } from '../../src/admin/http.js'
import { EventStreams, type LiveView } from '../../src/page/eventStreams.js'
import type { StatusSample } from '../../src/page/series.js'
import { createManualClock } from '../support/clock.js'
import { snapshot } from '../support/statusSnapshot.js'

type Event = { event: string; data: unknown }

const sampleOf = (sessions: number, buckets: string[] = ['other']) =>
  ({ sessions, waiting: Object.fromEntries(buckets.map(bucket => [bucket, 0])), tokens: {} }) as unknown as StatusSample

function create({ max = 3 } = {}) {
  const clock = createManualClock()
  const view: LiveView & { renderings: number } = {
    sections: { state: '<p>a</p>', rules: '<p>b</p>' },
    sample: sampleOf(1),
    series: () => snapshot.series,
    renderings: 0,
  }
  let failure: Error | undefined
  const errors: string[] = []
  const streams = new EventStreams({
    max,
    after: clock.after,
    onError: fault => errors.push(fault.kind),
    render() {
      view.renderings += 1
      if (failure) throw failure
      return view
    },
  })
  const open = (isPermitted = () => true) => {
    const chunks: Buffer[] = []
    const closers: (() => void)[] = []
    const client = {
      unreadBytes: 0,
      state: 'open',
      chunks,
      text: () => Buffer.concat(chunks).toString(),
      events: () =>
        Buffer.concat(chunks)
          .toString()
          .split('\n\n')
          .flatMap((text): Event[] => {
            const [, event = '', data = ''] = /^event: (\w+)\ndata: (.*)$/.exec(text) ?? []
            return event === '' ? [] : [{ event, data: JSON.parse(data) }]
          }),
      close: () => closers.forEach(run => void run()),
    }
    const response: ResponseStream = {
      get unreadBytes() {
        return client.unreadBytes
      },
      write: bytes => void chunks.push(bytes),
      end() {
        client.state = 'ended'
      },
      destroy() {
        client.state = 'destroyed'
        client.close()
      },
      onClose: run => void closers.push(run),
    }
    streams.open(response, isPermitted)
    return client
  }
  return { streams, clock, view, errors, open, fail: (error?: Error) => (failure = error) }
}

t.test('a stream begins with everything and goes on with what has changed', async t => {
  const { streams, view, open } = create()
  const client = open()
  t.same(client.events(), [
    { event: 'sections', data: { state: '<p>a</p>', rules: '<p>b</p>' } },
    { event: 'series', data: snapshot.series },
  ])
  streams.tick()
  t.same(client.events().slice(2), [{ event: 'sample', data: view.sample }])
  view.sections = { state: '<p>a\nc</p>', rules: '<p>b</p>' }
  view.sample = sampleOf(2)
  streams.tick()
  t.same(client.events().slice(3), [
    { event: 'sections', data: { state: '<p>a\nc</p>' } },
    { event: 'sample', data: view.sample },
  ])
})

t.test('when other buckets get columns, all samples are sent again', async t => {
  const { streams, view, open } = create()
  const client = open()
  view.sample = sampleOf(1, ['other', '123456789012'])
  streams.tick()
  t.equal(client.events().at(-1)?.event, 'series')
  streams.tick()
  t.equal(client.events().at(-1)?.event, 'sample')
})

t.test('all streams get the same bytes of one rendering', async t => {
  const { streams, view, open } = create()
  const clients = [open(), open(), open()]
  const before = view.renderings
  streams.tick()
  t.equal(view.renderings, before + 1)
  t.equal(new Set(clients.map(({ chunks }) => chunks.at(-1))).size, 1)
})

t.test('a stream that opens later gets what the others have, so that the changes fit', async t => {
  const { streams, view, open } = create()
  open()
  view.sections = { state: '<p>new</p>', rules: '<p>b</p>' }
  const later = open()
  t.match(later.events()[0], { data: { state: '<p>a</p>' } })
  streams.tick()
  t.match(later.events()[2], { event: 'sections', data: { state: '<p>new</p>' } })
})

t.test('without a stream nothing is rendered, and the next one begins with what is current', async t => {
  const { streams, view, open } = create()
  const first = open()
  first.close()
  const before = view.renderings
  streams.tick()
  t.equal(view.renderings, before)
  view.sections = { state: '<p>current</p>', rules: '<p>b</p>' }
  t.match(open().events()[0], { data: { state: '<p>current</p>' } })
})

t.test('the number of streams is bounded, and one that closes makes room', async t => {
  const { streams, open } = create({ max: 2 })
  const first = open()
  open()
  t.ok(streams.isFull)
  first.close()
  t.notOk(streams.isFull)
  t.equal(streams.count, 1)
})

t.test('a stream ends after 15 minutes', async t => {
  const { streams, clock, open } = create()
  const client = open()
  clock.advance(15 * 60_000 - 1)
  t.equal(client.state, 'open')
  clock.advance(1)
  t.equal(client.state, 'ended')
  t.equal(streams.count, 0)
})

t.test('a comment is sent every 15 seconds', async t => {
  const { streams, open } = create()
  const client = open()
  for (let count = 0; count < 6; count += 1) streams.tick()
  t.equal(client.text().match(/^:\n\n/gm)?.length, 2)
})

t.test('a client that does not read is closed, and only this one', async t => {
  const { streams, open } = create()
  const [slow, other] = [open(), open()]
  slow.unreadBytes = 256 * 1024
  streams.tick()
  t.equal(slow.state, 'open')
  slow.unreadBytes += 1
  const { length } = slow.chunks
  streams.tick()
  t.equal(slow.state, 'destroyed')
  t.equal(slow.chunks.length, length)
  t.equal(other.state, 'open')
  t.equal(streams.count, 1)
})

t.test('a stream whose token is gone closes and gets nothing more', async t => {
  const { streams, open } = create()
  let isPermitted = true
  const client = open(() => isPermitted)
  isPermitted = false
  const { length } = client.chunks
  streams.tick()
  t.equal(client.state, 'destroyed')
  t.equal(client.chunks.length, length)
  t.equal(streams.count, 0)
})

t.test('a view that cannot be rendered is reported, and streams stay open', async t => {
  const { streams, errors, open, fail } = create()
  const client = open()
  fail(new Error('a bug'))
  for (let count = 0; count < 3; count += 1) streams.tick()
  t.same(errors, ['internal', 'internal', 'internal'])
  t.equal(client.state, 'open')
  t.match(client.text(), /\n\n:\n\n$/)
  fail()
  streams.tick()
  t.equal(client.events().at(-1)?.event, 'sample')
  fail(new Error('a bug'))
  t.throws(() => open())
  t.equal(streams.count, 1)
})
