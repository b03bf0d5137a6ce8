import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { type Log, silentLog } from '../../src/log.js'
import { createPins, openPins } from '../../src/users/pins.js'
import { createEventRecorder } from '../support/audit.js'
import { faultOf, faultOfAsync } from '../support/faults.js'

const canonical = 'arn:aws:iam::123456789012:role/app'
const first = { canonical, principalId: 'AROACKCEVSQ6C2EXAMPLE' }
const second = { canonical, principalId: 'AROAOTHEROTHEROTHER00' }

t.test('the first id is pinned and survives a restart', async t => {
  const folder = mkdtempSync(join(tmpdir(), 'pins-'))
  t.teardown(() => rmSync(folder, { recursive: true }))
  const file = join(folder, 'pins.json')
  const pins = openPins(file)
  t.equal(pins.get(canonical), undefined)
  t.equal(await pins.pin(first), first.principalId)
  t.equal(await pins.pin(second), first.principalId)
  t.same(JSON.parse(readFileSync(file, 'utf8')), { [canonical]: first.principalId })
  const again = openPins(file)
  t.equal(await again.pin(second), first.principalId)
  t.equal(await again.clear(canonical), first.principalId)
  t.equal(await again.clear(canonical), undefined)
  t.equal(await again.pin(second), second.principalId)
  writeFileSync(file, '{"arn:aws:iam::123456789012:role/app": "AROACKCEVSQ6C2')
  t.match(faultOf(() => openPins(file))?.facts.problems, [/^pins.file: .* is not a file of pins/])
  t.match(faultOf(() => openPins(folder))?.facts.problems, [/^pins.file: cannot read .*EISDIR/])
})

t.test('concurrent logins pin one id, and all of them get that id', async t => {
  const texts: string[] = []
  const write = async (text: string) => void texts.push(text)
  const pins = createPins({ path: 'pins.json', text: undefined, write }, silentLog)
  const ids = await Promise.all([first, second, second, first].map(pins.pin))
  t.same(new Set(ids), new Set([first.principalId]))
  t.equal(texts.length, 1)
})

t.test('a pin that cannot be written does not count, and its login fails', async t => {
  let full = true
  const write = async () => {
    if (full) throw Object.assign(new Error('no space'), { code: 'ENOSPC' })
  }
  const pins = createPins({ path: 'pins.json', text: undefined, write }, silentLog)
  const fault = await faultOfAsync(() => pins.pin(first))
  t.equal(fault?.kind, 'users/unreadable')
  t.match(fault?.facts.why, /cannot write a path of 9 characters \(not shown\): ENOSPC/)
  t.equal(pins.get(canonical), undefined)
  full = false
  t.equal(await pins.pin(second), second.principalId)
})

t.test('a file of another form is a configuration problem', async t => {
  const write = async () => {}
  for (const text of ['', '[]', '{"role/app": "AROACKCEVSQ6C2EXAMPLE"}', `{"${canonical}": "me"}`, 'null']) {
    t.equal(faultOf(() => createPins({ path: 'pins.json', text, write }, silentLog))?.kind, 'config/invalid', text)
  }
  t.equal(createPins({ path: 'pins.json', text: '{}', write }, silentLog).get(canonical), undefined)
})

t.test('the audit trail has each new pin once, and none that could not be written', async t => {
  const { record, events } = createEventRecorder()
  let full = true
  const write = async () => {
    if (full) throw Object.assign(new Error('no space'), { code: 'ENOSPC' })
  }
  const pins = createPins({ path: 'pins.json', text: undefined, write }, silentLog, record)
  await pins.pin(first).catch(() => {})
  full = false
  await Promise.all([pins.pin(first), pins.pin(second)])
  await pins.pin(first)
  const actor = { kind: 'principal', id: canonical }
  t.match(events(), [{ type: 'pin.set', actor, arn: canonical, principalId: first.principalId }])
  t.equal(events().length, 1)
})

t.test('the log reports each new pin and each removed pin once', async t => {
  const lines: unknown[] = []
  const log: Log = (...line) => void lines.push(line)
  const pins = createPins({ path: 'pins.json', text: undefined, write: async () => {} }, log)
  await Promise.all([pins.pin(first), pins.pin(second), pins.clear(canonical), pins.clear(canonical)])
  const facts = { arn: canonical, principalId: first.principalId }
  t.same(lines, [
    ['info', 'principal id pinned', facts],
    ['warn', 'principal id unpinned', facts],
  ])
  t.equal(pins.all().size, 0)
})
