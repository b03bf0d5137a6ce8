import { readFileSync } from 'node:fs'
import { calculateObjectSize, Int32 } from 'bson'
import t from 'tap'
import { addProxyMetadata, PROXY_NAME, VERSION } from '../../src/upstream/metadata.js'

const client = { application: { name: 'app' }, driver: { name: 'nodejs', version: '7.9.0' }, os: { type: 'Linux' } }
const platform = 'Node.js v20'

t.test('the name of the proxy is added to the platform, and nothing else changes', async t => {
  t.same(addProxyMetadata({ ...client, platform, env: { memory_mb: new Int32(1) } }), {
    ...client,
    platform: `Node.js v20 | ${PROXY_NAME} ${VERSION}`,
    env: { memory_mb: new Int32(1) },
  })
  t.same(Object.keys(addProxyMetadata({ platform, ...client })), ['platform', 'application', 'driver', 'os'])
  t.equal(addProxyMetadata(client).platform, `${PROXY_NAME} ${VERSION}`)
})

t.test('the name of the proxy is left out if the document would exceed 512 bytes', async t => {
  const room = 512 - calculateObjectSize(addProxyMetadata({ ...client, platform, pad: '' }))
  const fits = { ...client, platform, pad: 'x'.repeat(room) }
  t.equal(calculateObjectSize(addProxyMetadata(fits)), 512)
  const full = { ...fits, pad: `${fits.pad}x` }
  t.same(addProxyMetadata(full), full)
})

t.test('without client metadata the proxy sends its own', async t => {
  t.match(addProxyMetadata(undefined), { driver: { name: PROXY_NAME, version: VERSION }, os: { type: String } })
})

t.test('a platform that is not a string is unchanged, and mongos is left out', async t => {
  t.same(addProxyMetadata({ ...client, platform: new Int32(1) }), { ...client, platform: new Int32(1) })
  t.notOk('mongos' in addProxyMetadata({ ...client, mongos: { host: 'h' } }))
})

t.test('name and version are those of package.json', async t => {
  const { name, version } = JSON.parse(readFileSync('package.json', 'utf8'))
  t.same([PROXY_NAME, VERSION], [name, version])
})
