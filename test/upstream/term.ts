import t from 'tap'
import { Fault } from '../../src/errors.js'
import { beginTerm } from '../../src/upstream/term.js'

const why = new Fault('upstream/stepped-down')

t.test('whoever asked is told at the moment of the end, once', async t => {
  const { term, end } = beginTerm()
  const told: Fault[] = []
  for (let relay = 0; relay < 10_000; relay++) term.whenOver(fault => told.push(fault))
  t.equal(term.over, undefined)
  end(why)
  t.equal(told.length, 10_000)
  t.equal(term.over, why)
  end(new Fault('internal'))
  t.equal(told.length, 10_000)
  t.equal(term.over, why)
})

t.test('who comes too late is told at once; who left is told nothing', async t => {
  const { term, end } = beginTerm()
  const leave = term.whenOver(() => t.fail('it left'))
  leave()
  end(why)
  let told = 0
  term.whenOver(() => told++)
  t.equal(told, 1)
})
