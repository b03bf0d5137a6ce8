import { existsSync, mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { createAdminDenials, openAdminDenials } from '../../src/revocation/adminDenials.js'
import { parseDenial } from '../../src/revocation/denials.js'
import { formatDenyFile } from '../../src/revocation/denyFile.js'
import { faultOf, faultOfAsync } from '../support/faults.js'
import { createTempFolder } from '../support/program.js'

const denialOf = (entry: unknown) => {
  const read = parseDenial(entry)
  if (typeof read === 'string') throw new Error(read)
  return read
}
const now = () => Date.parse('2026-11-27T00:00:00Z')
const alice = denialOf('arn:aws:iam::123456789012:user/alice')
const key = denialOf('AKIAIOSFODNN7EXAMPLE')

t.test('what was denied is there again after a restart, and taken back after another', async t => {
  const path = join(createTempFolder(t), 'denied.yaml')
  const first = openAdminDenials(path, now)
  t.same(first.all(), [])
  t.notOk(existsSync(path))
  t.equal(await first.add(alice), true)
  t.equal(await first.add(alice), false, 'once is enough')
  t.equal(await first.add(key), true)
  t.equal(statSync(path).mode & 0o777, 0o600)
  const second = openAdminDenials(path, now)
  t.same(second.all(), [alice, key])
  t.equal(await second.remove(alice), true)
  t.equal(await second.remove(alice), false)
  t.same(openAdminDenials(path, now).all(), [key])
  t.notOk(existsSync(`${path}.new`))
})

t.test('the same with another end takes the place of what was there', async t => {
  const kept = openAdminDenials(join(createTempFolder(t), 'denied.yaml'), now)
  await kept.add(alice)
  await kept.add({ ...alice, until: new Date('2026-12-24T00:00:00Z'), why: 'left' })
  t.match(kept.all(), [{ why: 'left' }])
})

t.test('what the disk does not take does not count', async t => {
  const path = join(createTempFolder(t), 'nowhere', 'denied.yaml')
  const kept = openAdminDenials(path, now)
  const fault = await faultOfAsync(() => kept.add(alice))
  t.match(fault, { kind: 'denials/not-persisted', facts: { file: path, why: 'ENOENT' } })
  t.same(kept.all(), [])
  mkdirSync(join(path, '..'))
  t.equal(await kept.add(alice), true, 'the next one does')
  t.match(readFileSync(path, 'utf8'), 'alice')
})

t.test('changes at once are made one after the other, each whole', async t => {
  const written: string[] = []
  let writing = 0
  const kept = createAdminDenials(
    {
      text: undefined,
      path: 'x',
      write: async text => {
        t.equal(++writing, 1)
        await new Promise(setImmediate)
        writing--
        written.push(text)
      },
    },
    now,
  )
  t.same(await Promise.all([kept.add(alice), kept.add(key), kept.remove(alice), kept.add(key)]), [
    true,
    true,
    true,
    false,
  ])
  t.same(written, [[alice], [alice, key], [key]].map(formatDenyFile))
})

t.test('it does not grow for ever', async t => {
  const text = formatDenyFile(Array.from({ length: 10_000 }, (_, n) => denialOf(`AKIA${String(n).padStart(16, '0')}`)))
  const kept = createAdminDenials({ text, path: 'x', write: async () => {} }, now)
  t.match(await faultOfAsync(() => kept.add(alice)), { kind: 'denials/not-persisted', detail: /10000/ })
  t.equal(await kept.remove(kept.all()[0] as never), true)
  t.equal(await kept.add(alice), true)
})

t.test('a file that is cut, wrong, or cannot be read keeps the proxy from starting', async t => {
  const folder = createTempFolder(t)
  const path = join(folder, 'denied.yaml')
  for (const [text, said] of [
    ['- AKIAIOSFODNN7EXAMPLE\n', /deny\.adminFile: does not end in/],
    ['- nobody\n...\n', /deny\.adminFile: is no ARN.*denied\.yaml:1/],
  ] as const) {
    writeFileSync(path, text)
    t.match(
      faultOf(() => openAdminDenials(path, now)),
      { kind: 'config/invalid', detail: said },
    )
  }
  t.match(
    faultOf(() => openAdminDenials(folder, now)),
    { kind: 'config/invalid', detail: /EISDIR/ },
  )
})

t.test('what has ended is forgotten with the next change, so that it keeps no other out', async t => {
  const key = (n: number) => `AKIA${String(n).padStart(16, '0')}`
  const ended = Array.from({ length: 10_000 }, (_, n) => denialOf({ accessKey: key(n), until: '2026-11-27T00:00:00Z' }))
  const kept = createAdminDenials({ text: formatDenyFile(ended), path: 'x', write: async () => {} }, now)
  t.equal(await kept.add(alice), true)
  t.same(kept.all(), [alice])
  const other = createAdminDenials(
    { text: formatDenyFile([...ended.slice(0, 2), alice]), path: 'x', write: async () => {} },
    now,
  )
  t.equal(await other.remove(denialOf(key(0))), true)
  t.same(other.all(), [alice])
})

t.test('what denies the same is the same, however it is spelled', async t => {
  const arn = (name: string) => denialOf(`arn:aws:iam::123456789012:user/${name}`)
  const text = formatDenyFile([arn('team/Alice'), arn('ALICE'), arn('bob')])
  const kept = createAdminDenials({ text, path: 'x', write: async () => {} }, now)
  t.equal(await kept.remove(arn('old/alice')), true)
  t.same(kept.all(), [arn('bob')])
  t.equal(await kept.add(arn('Bob')), true)
  t.same(kept.all(), [arn('Bob')], 'as it was spelled last')
})
