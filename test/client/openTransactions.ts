import t from 'tap'
import { OpenTransactions } from '../../src/client/openTransactions.js'

const inTransaction = (name: string, session: string) => ({ name, inTransaction: true, session })
const find = { name: 'find', inTransaction: false }

t.test('each session has its own transaction', async t => {
  const transactions = new OpenTransactions()
  t.equal(transactions.areOpen, false)
  transactions.record(inTransaction('insert', 'a'))
  transactions.record(inTransaction('insert', 'b'))
  transactions.record(find)
  transactions.record(inTransaction('commitTransaction', 'a'))
  t.equal(transactions.areOpen, true)
  transactions.record(inTransaction('abortTransaction', 'b'))
  t.equal(transactions.areOpen, false)
})

t.test('a request that could not be read may belong to a transaction until the next command', async t => {
  const transactions = new OpenTransactions()
  transactions.record(undefined)
  t.equal(transactions.areOpen, true)
  transactions.record(find)
  t.equal(transactions.areOpen, false)
})

t.test('the number of sessions is bounded', async t => {
  const transactions = new OpenTransactions()
  for (let session = 0; session < 10_000; session++) transactions.record(inTransaction('insert', String(session)))
  for (let session = 0; session < 100; session++)
    transactions.record(inTransaction('commitTransaction', String(session)))
  t.equal(transactions.areOpen, false)
})
