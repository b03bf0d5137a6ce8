import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import t from 'tap'
import { detach } from '../../src/identity/detachedString.js'

setFlagsFromString('--expose-gc')
const collect = runInNewContext('gc') as () => void

t.test('a detached string is equal to its original and does not keep the parent in memory', async t => {
  const substring = (index: number) => `${'x'.repeat(100_000)}AKIA${String(index).padStart(16, '0')}`.slice(100_000)
  collect()
  const before = process.memoryUsage().heapUsed
  const copies = Array.from({ length: 300 }, (_, index) => detach(substring(index)))
  collect()
  const more = process.memoryUsage().heapUsed - before
  t.equal(copies[7], substring(7))
  t.ok(more < 10_000_000, `${more} bytes, and the parents have 30 MB`)
})
