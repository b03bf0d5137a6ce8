import t from 'tap'
import { createDurationWindow } from '../../src/budget/durationWindow.js'

const medianOf = (size: number, durations: readonly number[]) => {
  const { record, median } = createDurationWindow({ size, initialMS: 100 })
  for (const ms of durations) record(ms)
  return median()
}

t.test('the median is that of the latest durations, in any order', async t => {
  t.equal(medianOf(5, [20]), 20)
  t.equal(medianOf(5, [30, 10, 20]), 20)
  t.equal(medianOf(3, [1, 1, 1, 30, 10, 20]), 20, 'older ones are replaced')
  t.equal(medianOf(5, [10, 12, 11, 1_500, 10]), 11, 'one slow call changes little')
})

t.test('before the first duration the median is the initial one', async t => {
  t.equal(medianOf(5, []), 100)
})
