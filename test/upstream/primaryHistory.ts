import t from 'tap'
import type { Log } from '../../src/log.js'
import { PrimaryHistory } from '../../src/upstream/primaryHistory.js'
import { createManualClock } from '../support/clock.js'

const [a, b] = ['mongo-0:27017', 'mongo-1:27017']
const START = Date.parse('2026-11-29T19:00:00Z')

/** Without `term` the address identifies the term. */
const primary = (address: string, term = address) => ({ address, term })

function createHistory() {
  const clock = createManualClock()
  const lines: [string, string, unknown][] = []
  const log: Log = (level, event, fields) => void lines.push([level, event, fields])
  let elections = 0
  const history = new PrimaryHistory({
    upstream: 'rs',
    log,
    onElection: () => {
      elections++
    },
    after: clock.after,
    now: clock.now,
    wallClock: () => START + clock.now(),
  })
  return { history, clock, lines, elections: () => elections }
}

t.test('an upstream without a primary at start is an error after five seconds', async t => {
  const { clock, lines } = createHistory()
  clock.advance(4_999)
  t.same(lines, [])
  clock.advance(1)
  t.same(lines, [['error', 'no primary', { upstream: 'rs', since: '2026-11-29T19:00:00.000Z', seconds: 5 }]])
})

t.test('a lost primary is a warning at once and an error once after five seconds', async t => {
  const { history, clock, lines } = createHistory()
  clock.advance(200)
  history.update(primary(a))
  clock.advance(60_000)
  history.update(undefined)
  history.update(undefined)
  const since = '2026-11-29T19:01:00.200Z'
  t.same(lines, [
    ['info', 'primary found', { upstream: a, seconds: 0.2 }],
    ['warn', 'no primary', { upstream: 'rs', since, seconds: 0 }],
  ])
  clock.advance(5_000)
  clock.advance(3_600_000)
  t.same(lines.slice(2), [['error', 'no primary', { upstream: 'rs', since, seconds: 5 }]])
  history.update(primary(b))
  t.same(lines.slice(3), [['info', 'primary found', { upstream: b, seconds: 3605 }]])
})

t.test('a planned step-down is no error', async t => {
  const { history, clock, lines, elections } = createHistory()
  history.update(primary(a))
  history.update(undefined)
  clock.advance(1_234)
  history.update(primary(b))
  clock.advance(60_000)
  t.same(
    lines.map(([level]) => level),
    ['info', 'warn', 'info'],
  )
  t.same(lines[2]?.[2], { upstream: b, seconds: 1.2 })
  t.equal(elections(), 1)
})

t.test('elections are other terms: neither the first primary, nor the same term again', async t => {
  const { history, lines, elections } = createHistory()
  history.update(primary(a, 'term 1'))
  history.update(undefined)
  history.update(primary(a, 'term 1'))
  t.equal(elections(), 0)
  history.update(primary(a, 'term 2'))
  t.equal(elections(), 1, 'a member that was elected again')
  history.update(primary(b, 'term 3'))
  t.equal(elections(), 2)
  t.same(lines.at(-1), ['info', 'primary found', { upstream: b, seconds: 0 }])
  t.equal(history.status().elections, 2)
})

t.test('the status has the last twenty changes, the newest first', async t => {
  const { history, clock } = createHistory()
  t.same(history.status(), { primary: undefined, since: START, elections: 0, changes: [] })
  history.update(primary(a))
  clock.advance(1_000)
  history.update(undefined)
  clock.advance(500)
  history.update(primary(b))
  t.same(history.status(), {
    primary: b,
    since: START + 1_500,
    elections: 1,
    changes: [
      { at: START + 1_500, primary: b, withoutMS: 500 },
      { at: START + 1_000, primary: undefined },
      { at: START, primary: a, withoutMS: 0 },
    ],
  })
  for (let nth = 0; nth < 50; nth++) history.update(primary(a, `term ${nth}`))
  t.equal(history.status().changes.length, 20)
})

t.test('a closed history logs nothing more', async t => {
  const { history, clock, lines } = createHistory()
  history.close()
  clock.advance(60_000)
  t.same(lines, [])
  t.equal(clock.waiting(), 0)
})
