import t from 'tap'
import { type RefusalSummary, RefusalWindow } from '../../src/audit/refusalWindow.js'
import { createManualClock } from '../support/clock.js'

function createWindow() {
  const clock = createManualClock()
  const summaries: RefusalSummary[] = []
  const window = new RefusalWindow({ after: clock.after, onSummary: summary => void summaries.push(summary) })
  return { clock, window, summaries }
}

t.test(
  'twenty refusals per second of a subnet and reason are single events, and one summary stands for the rest',
  async t => {
    const { clock, window, summaries } = createWindow()
    const singles = Array.from({ length: 50 }, (_, key) => window.add('10.0.0.1', 'sts/refused', `AKIA${key % 8}`))
    t.equal(singles.filter(Boolean).length, 20)
    t.equal(window.add('10.0.0.2', 'sts/refused', 'AKIA'), true, 'another subnet')
    t.equal(window.add('10.0.0.1', 'users/no-rule', 'AKIA'), true, 'another reason')
    clock.advance(1000)
    t.match(summaries, [
      {
        subnet: '10.0.0.1',
        reason: 'sts/refused',
        count: 30,
        distinctKeys: 8,
        firstKeys: ['AKIA4', 'AKIA5', 'AKIA6', 'AKIA7', 'AKIA0'],
      },
    ])
    t.equal(window.add('10.0.0.1', 'sts/refused'), true, 'the next second begins')
  },
)

t.test('in all, 500 refusals per second are single events, and every other one is counted', async t => {
  const { clock, window, summaries } = createWindow()
  let singles = 0
  for (let subnet = 0; subnet < 5000; subnet++) if (window.add(`10.0.${subnet >> 8}.${subnet & 255}`, 'x')) singles += 1
  clock.advance(1000)
  t.equal(singles, 500)
  t.equal(
    summaries.reduce((sum, { count }) => sum + count, 0),
    4500,
  )
  t.ok(summaries.length <= 101, `${summaries.length} summaries`)
  t.match(summaries.at(-1), { subnet: undefined, reason: undefined })
})

t.test('a quiet second has no timer and no summary', async t => {
  const { clock, window, summaries } = createWindow()
  window.add('10.0.0.1', 'x')
  clock.advance(1000)
  t.same(summaries, [])
  t.equal(clock.waiting(), 0)
})
