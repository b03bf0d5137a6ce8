import t from 'tap'
import { createPeakRate } from '../../src/aws/peakRate.js'

t.test('the busiest second counts, wherever it begins', async t => {
  let time = 0
  const { count, most } = createPeakRate(() => time)
  t.equal(most(), 0)
  for (const at of [0, 600, 700, 1_500, 1_599, 1_600]) {
    time = at
    count()
  }
  t.equal(most(), 4, 'from 600 or 700 on; what is a second old is out')
})
