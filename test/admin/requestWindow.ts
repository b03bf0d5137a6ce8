import t from 'tap'
import { RequestWindow } from '../../src/admin/requestWindow.js'
import { createManualClock } from '../support/clock.js'

function started() {
  const clock = createManualClock()
  const reports: [string, number][] = []
  const window = new RequestWindow<string>({
    after: clock.after,
    onReport: (request, count) => reports.push([request, count]),
  })
  return { clock, window, reports }
}

t.test('the first request of a key is reported at once, and the others once per second with their number', async t => {
  const { clock, window, reports } = started()
  for (const request of ['a1', 'a2', 'a3']) window.add('a', request)
  window.add('b', 'b1')
  t.same(reports, [
    ['a1', 1],
    ['b1', 1],
  ])
  clock.advance(1_000)
  t.same(reports.slice(2), [['a3', 2]])
  window.add('a', 'a4')
  t.equal(reports.length, 3, 'the report began the next second')
  clock.advance(1_000)
  t.same(reports.slice(3), [['a4', 1]])
  clock.advance(2_000)
  window.add('a', 'a5')
  t.same(reports.slice(4), [['a5', 1]])
})

t.test('however many keys there are, a second has at most 101 reports', async t => {
  const { clock, window, reports } = started()
  for (let key = 0; key < 10_000; key++) window.add(`key ${key}`, 'request')
  t.equal(reports.length, 101)
  reports.length = 0
  clock.advance(1_000)
  t.same(reports, [['request', 9_899]])
})

t.test('a flush reports what waits', async t => {
  const { clock, window, reports } = started()
  for (const request of ['a1', 'a2']) window.add('a', request)
  window.flush()
  t.same(reports, [
    ['a1', 1],
    ['a2', 1],
  ])
  clock.advance(5_000)
  t.equal(reports.length, 2)
})
