import t from 'tap'
import { backoffMS } from '../src/backoff.js'

const BACKOFF = { firstMS: 100, maxMS: 1_000 }

t.test('each pause is twice as long as the one before, up to the maximum', async t => {
  t.same(
    [0, 1, 2, 3, 4, 5, 5_000].map(attempt => backoffMS(BACKOFF, attempt)),
    [100, 200, 400, 800, 1_000, 1_000, 1_000],
  )
})

t.test('jitter keeps at least half of a pause', async t => {
  t.equal(backoffMS(BACKOFF, 1, 0), 100)
  t.equal(backoffMS(BACKOFF, 1, 0.5), 150)
  t.equal(backoffMS(BACKOFF, 9, 0), 500)
})
