import t from 'tap'
import { createAcceptQueue } from '../../src/client/acceptQueue.js'
import { createManualClock } from '../support/clock.js'

/** A lobby whose loop turns by hand. */
function turning() {
  const clock = createManualClock()
  let due: (() => void)[] = []
  const served: string[] = []
  const { enqueue, schedule } = createAcceptQueue({ defer: run => due.push(run), now: clock.now })
  let count = 0
  return {
    served,
    clock,
    knock: (address: string) => {
      const name = `${address}${++count}`
      enqueue(address, () => served.push(name))
    },
    say: (address: string) => {
      const name = `${address} says ${++count}`
      schedule(address, () => served.push(name))
    },
    /** A turn of the loop; how many steps it had. */
    turn: () => {
      const now = due
      due = []
      for (const run of now) run()
      return now.length
    },
  }
}

t.test('who knocks alone is served in the turn after, and then nothing goes on', async t => {
  const { knock, turn, served } = turning()
  knock('a')
  t.same(served, [])
  turn()
  t.same(served, [], 'the turn in which it came in may bring others')
  turn()
  t.same(served, ['a1'])
  t.equal(turn(), 0)
  knock('a')
  turn()
  turn()
  t.same(served, ['a1', 'a2'])
})

t.test('nobody is served while others come in, and all are in the order of their addresses afterwards', async t => {
  const { knock, turn, served } = turning()
  for (let crowd = 0; crowd < 5; crowd++) {
    knock('a')
    turn()
  }
  knock('b')
  turn()
  t.same(served, [])
  turn()
  t.same(served, ['a1', 'b6', 'a2', 'a3', 'a4', 'a5'])
})

t.test('who waits is served after 20 milliseconds, however many knock', async t => {
  const { knock, turn, served, clock } = turning()
  for (let ms = 0; ms <= 20; ms++) {
    t.same(served, [], `${ms} ms`)
    knock('a')
    turn()
    clock.advance(1)
  }
  t.equal(served.length, 8)
  for (let ms = 21; ms <= 40; ms++) {
    t.equal(served.length, 8, `${ms} ms`)
    knock('a')
    turn()
    clock.advance(1)
  }
  knock('a')
  turn()
  t.equal(served.length, 16)
})

t.test('eight are served in a turn, so a newcomer waits for eight and not for the crowd', async t => {
  const { knock, turn, served } = turning()
  for (let crowd = 0; crowd < 1000; crowd++) knock(crowd % 2 ? 'a' : 'b')
  turn()
  turn()
  t.equal(served.length, 8)
  knock('c')
  turn()
  turn()
  t.ok(served.slice(8, 16).includes('c1001'))
})

t.test('what is said is heard at once where nobody waits, and in the turn of its address otherwise', async t => {
  const { knock, say, turn, served } = turning()
  say('a')
  t.same(served, ['a says 1'])
  turn()
  t.equal(turn(), 0)
  for (let crowd = 0; crowd < 20; crowd++) knock('a')
  say('a')
  say('b')
  t.equal(served.length, 1)
  turn()
  turn()
  t.equal(served.length, 9)
  t.equal(served[2], 'b says 23')
  while (turn() > 0);
  t.equal(served.length, 23)
  t.equal(served.at(-1), 'a says 22', 'behind those of its address who came before')
})

t.test('where many speak in one turn of the loop, most wait for the next ones, addresses in turn', async t => {
  const { say, turn, served } = turning()
  for (let count = 0; count < 20; count++) say('a')
  say('b')
  t.equal(served.length, 8, 'so that a turn is short for all')
  turn()
  t.equal(served.length, 16)
  t.ok(served.includes('b says 21'))
  say('a')
  t.equal(served.length, 16, 'nobody overtakes who waits')
  while (turn() > 0);
  t.equal(served.length, 22)
  say('a')
  t.equal(served.length, 23)
})
