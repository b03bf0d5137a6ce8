import t from 'tap'
import { AuditWriter, type LostEvents } from '../../src/audit/writer.js'
import { createManualClock } from '../support/clock.js'

type Done = (error: Error | null, taken: number) => void

/** A writer whose destination is answered by the test. */
function createWriter({ recover = (): boolean => false } = {}) {
  const clock = createManualClock()
  const writes: { text: string; done: Done }[] = []
  const failures: (string | undefined)[] = []
  const recovered: (LostEvents | undefined)[] = []
  const deferred: (() => void)[] = []
  let lost = 0
  const writer = new AuditWriter({
    destination: {
      write: (bytes, done) => void writes.push({ text: bytes.toString(), done }),
      recover,
      close() {},
    },
    after: clock.after,
    defer: run => void deferred.push(run),
    onFailureChange: why => void failures.push(why),
    onLost: () => {
      lost += 1
    },
  })
  writer.onRecovered(events => void recovered.push(events))
  const next = () => {
    const write = writes.shift()
    if (!write) throw new Error('nothing is being written')
    return write
  }
  const takeAll = () => {
    const { text, done } = next()
    done(null, Buffer.byteLength(text))
    return text
  }
  const runDeferred = () => {
    for (const run of deferred.splice(0)) run()
  }
  return { writer, clock, writes, next, takeAll, runDeferred, failures, recovered, countLost: () => lost }
}

t.test('lines of one moment are written together, and later ones behind them', async t => {
  const { writer, writes, takeAll, runDeferred } = createWriter()
  writer.append(1, 'one\n')
  writer.append(2, 'two\n')
  t.same(writes, [], 'nothing is written at once')
  runDeferred()
  writer.append(3, 'three\n')
  runDeferred()
  t.equal(writes.length, 1)
  t.equal(takeAll(), 'one\ntwo\n')
  t.equal(takeAll(), 'three\n')
  t.equal(writer.waitingBytes, 0)
})

t.test('whenWritten resolves once the operating system has taken all lines so far', async t => {
  const { writer, takeAll, runDeferred } = createWriter()
  t.equal(await writer.whenWritten(), true, 'nothing waits')
  writer.append(1, 'one\n')
  runDeferred()
  const results: boolean[] = []
  writer.whenWritten().then(result => results.push(result))
  writer.append(2, 'two\n')
  writer.whenWritten().then(result => results.push(result))
  await Promise.resolve()
  t.same(results, [])
  takeAll()
  await Promise.resolve()
  t.same(results, [true])
  takeAll()
  await Promise.resolve()
  t.same(results, [true, true])
})

t.test('a part that was not taken is written again', async t => {
  const { writer, next, runDeferred, failures } = createWriter()
  writer.append(1, 'größer\n')
  runDeferred()
  next().done(null, 2)
  const rest = next()
  t.equal(Buffer.byteLength(rest.text) + 2 >= 9, true)
  rest.done(null, 7)
  t.equal(writer.waitingBytes, 0)
  t.same(failures, [])
})

t.test('after an error the lines wait, and are written once a try per second succeeds', async t => {
  const { writer, clock, next, takeAll, writes, runDeferred, failures, recovered } = createWriter()
  writer.append(1, 'one\n')
  runDeferred()
  const written = writer.whenWritten()
  next().done(new Error('ENOSPC: no space left on device'), 0)
  t.equal(await written, false)
  t.equal(await writer.whenWritten(), false, 'a failing destination is not waited for')
  t.equal(writer.isFailing, true)
  writer.append(2, 'two\n')
  runDeferred()
  t.equal(writes.length, 0)
  clock.advance(1000)
  next().done(new Error('ENOSPC: no space left on device'), 0)
  clock.advance(1000)
  t.equal(takeAll(), 'one\n')
  t.equal(takeAll(), 'two\n')
  t.same(failures, ['ENOSPC: no space left on device', undefined])
  t.same(recovered, [undefined], 'nothing was lost')
  t.equal(await writer.whenWritten(), true)
})

t.test('in a file that was opened anew, the line begins anew', async t => {
  const { writer, clock, next, runDeferred } = createWriter({ recover: () => true })
  writer.append(1, 'one\n')
  writer.append(2, 'two\n')
  runDeferred()
  next().done(null, 6)
  next().done(new Error('EIO'), 0)
  clock.advance(1000)
  const { text, done } = next()
  t.equal(text, 'two\n')
  done(null, 4)
  t.equal(writer.waitingBytes, 0)
})

t.test('a destination that takes nothing for five seconds fails, and works again when it takes something', async t => {
  const { writer, clock, next, runDeferred, failures } = createWriter()
  writer.append(1, 'one\n')
  runDeferred()
  const written = writer.whenWritten()
  clock.advance(4999)
  t.same(failures, [])
  clock.advance(1)
  t.equal(await written, false)
  t.same(failures, ['it has taken nothing for 5 seconds'])
  next().done(null, 4)
  t.same(failures, ['it has taken nothing for 5 seconds', undefined])
})

t.test('beyond 16 MiB events are lost, until the destination takes something', async t => {
  const { writer, takeAll, runDeferred, failures, recovered, countLost } = createWriter()
  const line = `${'x'.repeat(1024 * 1024 - 1)}\n`
  for (let number = 1; number <= 16; number++) writer.append(number, line)
  runDeferred()
  t.same(failures, [])
  writer.append(17, 'small\n')
  writer.append(18, 'small\n')
  t.same(failures, ['more than 16 MiB wait to be written'])
  t.equal(countLost(), 2)
  takeAll()
  t.same(recovered, [{ from: 17, to: 18 }])
  writer.append(19, 'small\n')
  t.equal(countLost(), 2, 'no further event is lost')
})

t.test('close waits for what is queued, but not forever', async t => {
  const { writer, takeAll, runDeferred } = createWriter()
  writer.append(1, 'one\n')
  runDeferred()
  const closed = writer.close()
  takeAll()
  await closed
  t.equal(writer.waitingBytes, 0)
  const stuck = createWriter()
  stuck.writer.append(1, 'one\n')
  stuck.runDeferred()
  const closing = stuck.writer.close()
  stuck.clock.advance(5000)
  await closing
})
