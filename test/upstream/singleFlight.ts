import t from 'tap'
import { singleFlight } from '../../src/upstream/singleFlight.js'

/** An `ask` whose runs end when the test says so. `pause`: what lies between the beginnings of two, nothing unless told. */
function held(pause?: () => Promise<void>) {
  const runs: { resolve(value: string): void; reject(error: Error): void }[] = []
  const ask = singleFlight(() => new Promise<string>((resolve, reject) => runs.push({ resolve, reject })), pause)
  const settled = () => new Promise(resolve => setImmediate(resolve))
  return { runs, ask, settled }
}

t.test('who comes while a question is underway gets the next answer, and all who wait share it', async t => {
  const { runs, ask, settled } = held()
  const one = ask()
  const [two, three] = [ask(), ask()]
  t.equal(runs.length, 1)
  runs[0]?.resolve('old')
  t.equal(await one, 'old')
  await settled()
  t.equal(runs.length, 2, 'one more for both')
  const four = ask()
  runs[1]?.resolve('new')
  t.same(await Promise.all([two, three]), ['new', 'new'])
  await settled()
  runs[2]?.resolve('newest')
  t.equal(await four, 'newest')
})

t.test('who comes alone is asked for at once', async t => {
  const { runs, ask, settled } = held()
  for (let turn = 0; turn < 3; turn++) {
    const answer = ask()
    t.equal(runs.length, turn + 1)
    runs[turn]?.resolve('x')
    await answer
    await settled()
  }
})

t.test('who comes in the very tick in which an answer arrives does not start a second run beside the next', async t => {
  const { runs, ask, settled } = held()
  const one = ask()
  const late = one.then(() => ask())
  const two = ask()
  runs[0]?.resolve('old')
  await settled()
  t.equal(runs.length, 2)
  runs[1]?.resolve('new')
  t.same(await Promise.all([two, late]), ['new', 'new'])
})

t.test('a failure is of those who waited for it, not of the next', async t => {
  const { runs, ask, settled } = held()
  const one = ask()
  const two = ask()
  runs[0]?.reject(new Error('away'))
  await t.rejects(one, { message: 'away' })
  await settled()
  runs[1]?.resolve('back')
  t.equal(await two, 'back')
})

t.test('the next run begins when the pause of the last is over, for all who came meanwhile', async t => {
  const pauses: (() => void)[] = []
  const { runs, ask, settled } = held(() => new Promise(resolve => pauses.push(resolve)))
  const one = ask()
  runs[0]?.resolve('old')
  t.equal(await one, 'old')
  const [two, three] = [ask(), ask()]
  await settled()
  t.equal(runs.length, 1)
  pauses[0]?.()
  await settled()
  t.equal(runs.length, 2)
  pauses[1]?.()
  const four = ask()
  await settled()
  t.equal(runs.length, 2, 'nor before the last has ended')
  runs[1]?.resolve('new')
  t.same(await Promise.all([two, three]), ['new', 'new'])
  await settled()
  runs[2]?.resolve('newest')
  t.equal(await four, 'newest')
  pauses[2]?.()
  await settled()
  ask()
  t.equal(runs.length, 4, 'and at once where nothing was asked in the last pause')
})
