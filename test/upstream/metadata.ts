import { readFileSync } from 'node:fs'
import { calculateObjectSize, Int32 } from 'bson'
import t from 'tap'
import { NAME, VERSION, withProxy } from '../../src/upstream/metadata.js'

const client = { application: { name: 'app' }, driver: { name: 'nodejs', version: '7.9.0' }, os: { type: 'Linux' } }
const platform = 'Node.js v20'

t.test('ours is added to the platform, and nothing else changes', async t => {
  t.same(withProxy({ ...client, platform, env: { memory_mb: new Int32(1) } }), {
    ...client,
    platform: `Node.js v20 | ${NAME} ${VERSION}`,
    env: { memory_mb: new Int32(1) },
  })
  t.same(Object.keys(withProxy({ platform, ...client })), ['platform', 'application', 'driver', 'os'])
  t.equal(withProxy(client).platform, `${NAME} ${VERSION}`)
})

t.test('ours is left out where the whole would pass 512 bytes', async t => {
  const room = 512 - calculateObjectSize(withProxy({ ...client, platform, pad: '' }))
  const fits = { ...client, platform, pad: 'x'.repeat(room) }
  t.equal(calculateObjectSize(withProxy(fits)), 512)
  const full = { ...fits, pad: `${fits.pad}x` }
  t.same(withProxy(full), full)
})

t.test('a client that sent none is introduced as the proxy', async t => {
  t.match(withProxy(undefined), { driver: { name: NAME, version: VERSION }, os: { type: String } })
})

t.test('a platform that is no text is left alone, and mongos stays here', async t => {
  t.same(withProxy({ ...client, platform: new Int32(1) }), { ...client, platform: new Int32(1) })
  t.notOk('mongos' in withProxy({ ...client, mongos: { host: 'h' } }))
})

t.test('the version is that of the package', async t => {
  const { name, version } = JSON.parse(readFileSync('package.json', 'utf8'))
  t.same([NAME, VERSION], [name, version])
})
