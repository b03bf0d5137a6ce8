import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import t from 'tap'
import { detach } from '../../src/identity/detachedString.js'

setFlagsFromString('--expose-gc')
const collect = runInNewContext('gc') as () => void

t.test('a copy of a part is equal to it, and the whole can go', async t => {
  const part = (index: number) => `${'x'.repeat(100_000)}AKIA${String(index).padStart(16, '0')}`.slice(100_000)
  collect()
  const before = process.memoryUsage().heapUsed
  const copies = Array.from({ length: 300 }, (_, index) => detach(part(index)))
  collect()
  const more = process.memoryUsage().heapUsed - before
  t.equal(copies[7], part(7))
  t.ok(more < 10_000_000, `${more} bytes for what is 30 MB whole`)
})
