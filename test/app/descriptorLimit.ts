import { existsSync } from 'node:fs'
import t from 'tap'
import { parseDescriptorLimit, readDescriptorLimit } from '../../src/app/descriptorLimit.js'

const text = (soft: string) => `Limit                     Soft Limit           Hard Limit           Units     
Max processes             63432                63432                processes 
Max open files            ${soft.padEnd(20)} 1048576              files     
Max locked memory         8388608              8388608              bytes     
`

t.test('the limit of open files is the soft one', async t => {
  t.equal(parseDescriptorLimit(text('160')), 160)
  t.equal(parseDescriptorLimit(text('1048576')), 1_048_576)
})

t.test('without a limit, and in a text of another form, there is none', async t => {
  for (const other of [text('unlimited'), '', 'Max open files']) t.equal(parseDescriptorLimit(other), undefined)
})

t.test('a process on Linux knows its own limit', { skip: !existsSync('/proc/self/limits') && 'no /proc' }, async t => {
  t.ok((readDescriptorLimit() ?? 0) > 0)
})
