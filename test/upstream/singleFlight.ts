import t from 'tap'
import { singleFlight } from '../../src/upstream/singleFlight.js'

/** A wrapped function whose runs the test ends. `pause`: between the starts of two runs. */
function createControlled(pause?: () => Promise<void>) {
  const runs: { resolve(value: string): void; reject(error: Error): void }[] = []
  const call = singleFlight(() => new Promise<string>((resolve, reject) => runs.push({ resolve, reject })), pause)
  const nextTick = () => new Promise(resolve => setImmediate(resolve))
  return { runs, call, nextTick }
}

t.test('callers during a run share the next run', async t => {
  const { runs, call, nextTick } = createControlled()
  const one = call()
  const [two, three] = [call(), call()]
  t.equal(runs.length, 1)
  runs[0]?.resolve('old')
  t.equal(await one, 'old')
  await nextTick()
  t.equal(runs.length, 2, 'one more run for both')
  const four = call()
  runs[1]?.resolve('new')
  t.same(await Promise.all([two, three]), ['new', 'new'])
  await nextTick()
  runs[2]?.resolve('newest')
  t.equal(await four, 'newest')
})

t.test('a single caller starts a run at once', async t => {
  const { runs, call, nextTick } = createControlled()
  for (let nth = 0; nth < 3; nth++) {
    const answer = call()
    t.equal(runs.length, nth + 1)
    runs[nth]?.resolve('x')
    await answer
    await nextTick()
  }
})

t.test('a caller in the tick of a result does not start a second run beside the next one', async t => {
  const { runs, call, nextTick } = createControlled()
  const one = call()
  const late = one.then(() => call())
  const two = call()
  runs[0]?.resolve('old')
  await nextTick()
  t.equal(runs.length, 2)
  runs[1]?.resolve('new')
  t.same(await Promise.all([two, late]), ['new', 'new'])
})

t.test('a failure rejects only the callers of its run', async t => {
  const { runs, call, nextTick } = createControlled()
  const one = call()
  const two = call()
  runs[0]?.reject(new Error('failed'))
  await t.rejects(one, { message: 'failed' })
  await nextTick()
  runs[1]?.resolve('back')
  t.equal(await two, 'back')
})

t.test('the next run starts after the pause, and all callers during the pause share it', async t => {
  const pauses: (() => void)[] = []
  const { runs, call, nextTick } = createControlled(() => new Promise(resolve => pauses.push(resolve)))
  const one = call()
  runs[0]?.resolve('old')
  t.equal(await one, 'old')
  const [two, three] = [call(), call()]
  await nextTick()
  t.equal(runs.length, 1)
  pauses[0]?.()
  await nextTick()
  t.equal(runs.length, 2)
  pauses[1]?.()
  const four = call()
  await nextTick()
  t.equal(runs.length, 2, 'not before the last run has ended')
  runs[1]?.resolve('new')
  t.same(await Promise.all([two, three]), ['new', 'new'])
  await nextTick()
  runs[2]?.resolve('newest')
  t.equal(await four, 'newest')
  pauses[2]?.()
  await nextTick()
  call()
  t.equal(runs.length, 4, 'at once, since there was no caller during the last pause')
})
