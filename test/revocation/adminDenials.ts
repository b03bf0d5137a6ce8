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

t.test('added and removed denials survive a restart', async t => {
  const path = join(createTempFolder(t), 'denied.yaml')
  const first = openAdminDenials(path, now)
  t.same(first.all(), [])
  t.notOk(existsSync(path))
  t.equal(await first.add(alice), true)
  t.equal(await first.add(alice), false, 'an identical denial changes nothing')
  t.equal(await first.add(key), true)
  t.equal(statSync(path).mode & 0o777, 0o600)
  const second = openAdminDenials(path, now)
  t.same(second.all(), [alice, key])
  t.equal(await second.remove(alice), true)
  t.equal(await second.remove(alice), false)
  t.same(openAdminDenials(path, now).all(), [key])
  t.notOk(existsSync(`${path}.new`))
})

t.test('a denial with another end replaces the denial of the same principal', async t => {
  const denials = openAdminDenials(join(createTempFolder(t), 'denied.yaml'), now)
  await denials.add(alice)
  await denials.add({ ...alice, until: new Date('2026-12-24T00:00:00Z'), why: 'left' })
  t.match(denials.all(), [{ why: 'left' }])
})

t.test('a change that cannot be written does not count', async t => {
  const path = join(createTempFolder(t), 'nowhere', 'denied.yaml')
  const denials = openAdminDenials(path, now)
  const fault = await faultOfAsync(() => denials.add(alice))
  t.match(fault, { kind: 'denials/not-persisted', facts: { file: path, why: 'ENOENT' } })
  t.same(denials.all(), [])
  mkdirSync(join(path, '..'))
  t.equal(await denials.add(alice), true, 'the next change counts')
  t.match(readFileSync(path, 'utf8'), 'alice')
})

t.test('concurrent changes are written one after another, each complete', async t => {
  const written: string[] = []
  let writing = 0
  const denials = createAdminDenials(
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
  t.same(await Promise.all([denials.add(alice), denials.add(key), denials.remove(alice), denials.add(key)]), [
    true,
    true,
    true,
    false,
  ])
  t.same(written, [[alice], [alice, key], [key]].map(formatDenyFile))
})

t.test('the number of denials is bounded', async t => {
  const text = formatDenyFile(Array.from({ length: 10_000 }, (_, n) => denialOf(`AKIA${String(n).padStart(16, '0')}`)))
  const denials = createAdminDenials({ text, path: 'x', write: async () => {} }, now)
  t.match(await faultOfAsync(() => denials.add(alice)), { kind: 'denials/not-persisted', detail: /10000/ })
  t.equal(await denials.remove(denials.all()[0] as never), true)
  t.equal(await denials.add(alice), true)
})

t.test('a truncated, invalid or unreadable file is a configuration problem', async t => {
  const folder = createTempFolder(t)
  const path = join(folder, 'denied.yaml')
  for (const [text, said] of [
    ['- AKIAIOSFODNN7EXAMPLE\n', /deny\.adminFile: must end in/],
    ['- nobody\n...\n', /deny\.adminFile: must be an ARN.*denied\.yaml:1/],
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

t.test('the next change drops expired denials, so that they do not count against the bound', async t => {
  const key = (n: number) => `AKIA${String(n).padStart(16, '0')}`
  const ended = Array.from({ length: 10_000 }, (_, n) => denialOf({ accessKey: key(n), until: '2026-11-27T00:00:00Z' }))
  const denials = createAdminDenials({ text: formatDenyFile(ended), path: 'x', write: async () => {} }, now)
  t.equal(await denials.add(alice), true)
  t.same(denials.all(), [alice])
  const other = createAdminDenials(
    { text: formatDenyFile([...ended.slice(0, 2), alice]), path: 'x', write: async () => {} },
    now,
  )
  t.equal(await other.remove(denialOf(key(0))), true)
  t.same(other.all(), [alice])
})

t.test('denials of one principal are the same, however they are spelled', async t => {
  const arn = (name: string) => denialOf(`arn:aws:iam::123456789012:user/${name}`)
  const text = formatDenyFile([arn('team/Alice'), arn('ALICE'), arn('bob')])
  const denials = createAdminDenials({ text, path: 'x', write: async () => {} }, now)
  t.equal(await denials.remove(arn('old/alice')), true)
  t.same(denials.all(), [arn('bob')])
  t.equal(await denials.add(arn('Bob')), true)
  t.same(denials.all(), [arn('Bob')], 'with the last spelling')
})
