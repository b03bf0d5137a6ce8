/** The commands of docs/admin.md and docs/revocation.md about tokens, denials and pins, run unchanged but for the port. */
import { execFile } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { parseDenyFile } from '../../src/revocation/denyFile.js'
import { createClient, requireClients } from '../support/clients.js'
import { startDemo } from '../support/demo.js'
import { createTempFolder } from '../support/program.js'
import { waitUntil } from '../support/waitUntil.js'

await requireClients('mongodb7')

/** The block of shell commands on a page that contains a word. */
const about = (word: string, page = 'revocation') => {
  const text = readFileSync(new URL(`../../docs/${page}.md`, import.meta.url), 'utf8')
  const blocks = [...text.matchAll(/^```(?:bash|sh)\n([\s\S]*?)^```$/gm)].map(([, block = '']) => block)
  return blocks.find(block => block.includes(word)) ?? ''
}

t.test('the commands add and remove a denial and a pin', async t => {
  const cwd = createTempFolder(t)
  const run = (script: string) =>
    new Promise<string>((resolve, reject) => {
      const env = { PATH: process.env.PATH, HOME: cwd }
      execFile('sh', ['-ec', script], { cwd, env }, (error, stdout) => (error ? reject(error) : resolve(stdout)))
    })
  await run(about('urandom', 'admin'))
  const deny = join(cwd, 'deny.yaml')
  writeFileSync(deny, '[]\n...\n')
  const files = ['--admin-token-file', join(cwd, 'admin-token'), '--deny-admin-file', join(cwd, 'denied.yaml')]
  const pins = join(cwd, 'pins.json')
  writeFileSync(pins, JSON.stringify({ 'arn:aws:iam::123456789012:role/orders-api': 'AROACKCEVSQ6C2EXAMPLE' }))
  const { ready, uri, orders, log } = await startDemo(t, ...files, '--deny-file', deny, '--pins-file', pins)
  const connect = async () => {
    const client = await createClient(t, 'mongodb7', uri(), orders)
    await client.db('app').command({ ping: 1 })
  }
  await connect()
  const replies = await run(about('/deny').replaceAll('http://127.0.0.1:9216', ready.admin))
  const [added, list, taken] = replies
    .trimEnd()
    .split('\n')
    .map(line => JSON.parse(line))
  t.match(added, { denied: { why: 'ticket 4711' } })
  t.ok(added.closed >= 1)
  t.match(list, { file: [], admin: [{ why: 'ticket 4711' }] })
  t.match(taken, { allowed: { arn: orders.arn } })

  const output = await run(about('/pins').replaceAll('http://127.0.0.1:9216', ready.admin))
  const pin = JSON.parse(readFileSync(pins, 'utf8'))
  t.same(
    [output, pin],
    [`{"${orders.arn}":"AROACKCEVSQ6C2EXAMPLE"}\n{"cleared":{"${orders.arn}":"AROACKCEVSQ6C2EXAMPLE"}}\n`, {}],
  )

  await connect()
  await run(about('deny.yaml.new'))
  t.match(parseDenyFile(readFileSync(deny, 'utf8'), deny), { all: [{ value: orders.arn }], problems: [] })
  const closed = () => log.filter(({ fault, denial }) => fault === 'login/revoked' && `${denial}`.startsWith('arn'))
  await waitUntil(() => closed().length > added.closed)
  await t.rejects(connect(), { code: 18, message: /deny list/ })
})
