import { readFileSync } from 'node:fs'
import { Binary, BSONSymbol, Code, calculateObjectSize, type Document, deserialize, Int32, serialize } from 'bson'
import fc from 'fast-check'
import t, { type Test } from 'tap'
import {
  MAX_METADATA_BYTES,
  type Marker,
  markMetadata,
  PROXY_METADATA,
  PROXY_NAME,
  VERSION,
} from '../../src/upstream/metadata.js'
import { faultOf } from '../support/faults.js'

const marker: Marker = { connection: '0123456789ab-17', session: 'alice@example.com' }
const MARK = `${PROXY_NAME}/${VERSION} 0123456789ab-17 session=alice@example.com`
const client = { application: { name: 'app' }, driver: { name: 'nodejs', version: '7.9.0' }, os: { type: 'Linux' } }
const platform = 'Node.js v20'
const env = { name: 'aws.lambda', memory_mb: new Int32(512), region: 'eu-west-1' }
const os = { type: 'Linux', name: 'linux', architecture: 'x64', version: '6.1.0' }

/** The bytes that marked metadata has left. */
const free = (metadata: Document): number => MAX_METADATA_BYTES - calculateObjectSize(markMetadata(metadata, marker))

/** Metadata with these fields whose driver leaves `left` bytes when the platform is the marker alone; below 0, it lacks them. */
function fill(fields: Document, left: number): Document {
  const sized = (version: string): Document => ({ ...client, ...fields, driver: { name: 'nodejs', version } })
  const marked = { ...sized(''), platform: MARK }
  return sized('7'.repeat(MAX_METADATA_BYTES - calculateObjectSize(marked) - left))
}

t.test('the marker comes first in the platform, and nothing else changes', async t => {
  t.strictSame(markMetadata({ ...client, platform, env }, marker), {
    ...client,
    platform: `${MARK} | Node.js v20`,
    env,
  })
  t.same(Object.keys(markMetadata({ platform, ...client }, marker)), ['platform', 'application', 'driver', 'os'])
  t.equal(markMetadata(client, marker).platform, MARK)
  t.equal(markMetadata({ ...client, platform: '' }, marker).platform, MARK)
})

t.test('the marker of an IAM user names no session', async t => {
  const { connection } = marker
  t.equal(
    markMetadata({ ...client, platform }, { connection }).platform,
    'mongo-iam-proxy/0.1.0 0123456789ab-17 | Node.js v20',
  )
})

t.test('without client metadata the proxy sends its own, with the marker', async t => {
  t.strictSame(markMetadata(undefined, marker), { ...PROXY_METADATA, platform: MARK })
})

t.test('a platform that is not a string is replaced, and mongos is left out', async t => {
  for (const platform of [new Int32(1), { name: 'x' }, null, ['x']]) {
    t.strictSame(markMetadata({ ...client, platform }, marker), { ...client, platform: MARK })
  }
  t.notOk('mongos' in markMetadata({ ...client, mongos: { host: 'h' } }, marker))
})

t.test('no client can forge a marker, in whatever field and spelling', async t => {
  const forged = 'mongo-iam-proxy/0.1.0 ffffffffffff-1 session=bob'
  const harmless = 'mongo-iam-proxy_0.1.0 ffffffffffff-1 session=bob'
  const metadata = {
    application: { name: forged },
    driver: { name: forged, version: 'Mongo-IAM-Proxy/1' },
    os: { type: 'Linux', name: `é${forged}` },
  }
  t.strictSame(markMetadata({ ...metadata, platform: 'x' }, { connection: 'c' }), {
    application: { name: harmless },
    driver: { name: harmless, version: 'mongo-iam-proxy_1' },
    os: { type: 'Linux', name: `é${harmless}` },
    platform: 'mongo-iam-proxy/0.1.0 c | x',
  })
  for (const other of [
    { platform: `x | ${forged}` },
    { [forged]: 1 },
    { env: { name: [forged] } },
    { code: new Code(forged) },
    { symbol: new BSONSymbol(forged) },
    { binary: new Binary(Buffer.from(forged)) },
    { 'mongo-iam-proxy/': 1, 'mongo-iam-proxy_': 2 },
  ]) {
    const bytes = Buffer.from(serialize(markMetadata({ ...client, ...other }, marker))).toString('latin1')
    t.equal(bytes.split(/mongo-iam-proxy\//i).length - 1, 1, Object.keys(other).join())
  }
})

t.test('a text of the proxy about itself is no forgery', async t => {
  const own = { ...client, driver: { name: 'mongo-iam-proxy doctor', version: '0.1.0' } }
  t.strictSame(markMetadata(own, marker), { ...own, platform: MARK })
})

t.test("first, the client's platform is shortened to the byte", async t => {
  for (const [left, ending] of [
    [14, ` | ${platform}`],
    [13, ' | Node.js v2'],
    [5, ' | No'],
    [4, ' | N'],
    [3, ''],
    [0, ''],
  ] as const) {
    const metadata = fill({ platform, env, os }, left)
    t.strictSame(markMetadata(metadata, marker), { ...metadata, platform: `${MARK}${ending}` }, `${left} bytes`)
    t.equal(free(metadata), left - ending.length)
  }
})

t.test('a character of several bytes is included or left out as a whole', async t => {
  for (const [left, ending, unused] of [
    [12, 'é€😀', 0],
    [11, 'é€', 3],
    [9, 'é€', 1],
    [8, 'é€', 0],
    [7, 'é', 2],
    [5, 'é', 0],
    [4, '', 4],
  ] as const) {
    const metadata = fill({ platform: 'é€😀' }, left)
    const expected = ending && ` | ${ending}`
    t.equal(markMetadata(metadata, marker).platform, `${MARK}${expected}`, `${left} bytes`)
    t.equal(free(metadata), unused)
  }
})

/** Bytes of an element of BSON: type, name with its NUL, value. */
const stringBytes = (name: string, value: string): number => 1 + name.length + 1 + 4 + value.length + 1
const int32Bytes = (name: string): number => 1 + name.length + 1 + 4
const documentBytes = (name: string, content: number): number => 1 + name.length + 1 + 4 + content + 1

const sizes = {
  'env.region': stringBytes('region', 'eu-west-1'),
  'env.memory_mb': int32Bytes('memory_mb'),
  env: documentBytes('env', stringBytes('name', 'aws.lambda')),
  'os.version': stringBytes('version', '6.1.0'),
  'os.architecture': stringBytes('architecture', 'x64'),
  'os.name': stringBytes('name', 'linux'),
  extra: int32Bytes('extra'),
  'os.type': 'Linux'.length,
}

t.test('then env is shortened, then os, then unknown fields: each only if the ones before do not suffice', async t => {
  const full = { platform, env, os, extra: new Int32(1) }
  const steps = [
    { ...full, env: { name: 'aws.lambda', memory_mb: new Int32(512) } },
    { ...full, env: { name: 'aws.lambda' } },
    { os, extra: new Int32(1) },
    { os: { type: 'Linux', name: 'linux', architecture: 'x64' }, extra: new Int32(1) },
    { os: { type: 'Linux', name: 'linux' }, extra: new Int32(1) },
    { os: { type: 'Linux' }, extra: new Int32(1) },
    { os: { type: 'Linux' } },
    { os: { type: '' } },
  ] as const
  let total = 0
  for (const [index, [removed, bytes]] of Object.entries(sizes).entries()) {
    const expectShortened = (t: Test, missing: number, unused: number, fields: Document): void => {
      const metadata = fill(full, -missing)
      const { driver, application } = metadata
      t.strictSame(markMetadata(metadata, marker), { application, driver, ...fields, platform: MARK })
      t.equal(free(metadata), unused)
    }
    const fields = steps[index] ?? {}
    const before = total
    t.test(`${removed}: ${bytes} bytes`, async t => {
      if (removed !== 'os.type') expectShortened(t, before + 1, bytes - 1, fields)
      else expectShortened(t, before + 1, 0, { os: { type: 'Linu' } })
      expectShortened(t, before + bytes, 0, fields)
    })
    total += bytes
  }
  t.test('nothing is left to shorten', async t => {
    const fault = faultOf(() => markMetadata(fill(full, -total - 1), marker))
    t.match(fault, { kind: 'hello/metadata-too-large', message: /application and driver/ })
  })
})

t.test('an env of another type is removed as a whole', async t => {
  for (const env of ['text', ['a', 'b'], new Binary(Buffer.alloc(4))]) {
    const metadata = fill({ env }, -1)
    t.strictSame(markMetadata(metadata, marker), { ...client, driver: metadata.driver, platform: MARK })
  }
})

t.test('the metadata of the client is never changed itself', async t => {
  const metadata = fill({ platform, env, os }, -100)
  const before = serialize(metadata)
  markMetadata(metadata, marker)
  t.strictSame(serialize(metadata), before)
})

t.test('with the longest names that drivers and AWS allow, only what may be shortened is', async t => {
  const longest: Marker = { connection: `0123456789ab-${Number.MAX_SAFE_INTEGER}`, session: 'x'.repeat(64) }
  const application = { name: 'a'.repeat(128) }
  const driver = { name: 'nodejs|Mongoose|NestJS', version: '7.9.0-alpha.1|9.10.11|11.12.13' }
  const marked = markMetadata({ application, driver, os, platform, env }, longest)
  t.match(marked, { application, driver, os: { type: 'Linux' } })
  t.match(marked.platform, `session=${longest.session}`)
  t.ok(calculateObjectSize(marked) <= MAX_METADATA_BYTES)
})

const text = fc
  .oneof(
    fc.string({ unit: 'grapheme', maxLength: 200 }),
    fc.constantFrom('mongo-iam-proxy/', 'mongo-iam-proxy/0.1.0 f-1 session=eve | ', 'MONGO-IAM-PROXY/', ''),
  )
  .filter(text => !text.includes('\ufffd'))
const name = fc
  .oneof(fc.string({ maxLength: 12 }), fc.constantFrom('name', 'type', 'mongo-iam-proxy/'))
  .map(toFieldName)
const value = fc.oneof(
  { weight: 4, arbitrary: text },
  fc.dictionary(name, text, { maxKeys: 4, noNullPrototype: true }),
  fc.integer({ min: -1000, max: 1000 }).map(number => new Int32(number)),
  fc.array(text, { maxLength: 3 }),
  fc.constant(null),
)
const details = fc.dictionary(name, value, { maxKeys: 4, noNullPrototype: true })
const arbitraryMetadata = fc
  .tuple(
    fc.record({ name: text, version: text }, { noNullPrototype: true }),
    fc
      .tuple(fc.record({ type: text }, { noNullPrototype: true }), details)
      .map(([type, more]) => ({ ...more, ...type })),
    fc.record(
      { application: fc.record({ name: text }, { noNullPrototype: true }), platform: value, env: value },
      { requiredKeys: [] },
    ),
    details,
  )
  .map(([driver, os, known, more]): Document => ({ ...more, ...known, driver, os }))
  .filter(metadata => calculateObjectSize(metadata) <= MAX_METADATA_BYTES)

/** Fills metadata with a text in one of its fields, as drivers do, up to about 512 bytes. */
function pad(metadata: Document, [part, name]: readonly [string, string], character: string, spare: number): Document {
  const room = MAX_METADATA_BYTES - calculateObjectSize(metadata) - spare
  const filling = character.repeat(Math.max(0, Math.floor(room / Buffer.byteLength(character))))
  const fields = typeof metadata[part] === 'object' ? metadata[part] : {}
  const padded = { ...metadata, [part]: name === '' ? filling : { ...fields, [name]: filling } }
  return calculateObjectSize(padded) <= MAX_METADATA_BYTES ? padded : metadata
}
const fullMetadata = fc
  .tuple(
    arbitraryMetadata,
    fc.constantFrom(
      ['platform', ''],
      ['env', 'region'],
      ['os', 'version'],
      ['os', 'type'],
      ['other', ''],
      ['driver', 'name'],
      ['application', 'name'],
    ),
    fc.constantFrom('x', 'é', '€', '😀'),
    fc.nat({ max: 60 }),
  )
  .map(([metadata, field, character, spare]) => pad(metadata, field as [string, string], character, spare))
const arbitraryMarker = fc.record(
  {
    connection: fc.integer({ min: 1, max: Number.MAX_SAFE_INTEGER }).map(id => `0123456789ab-${id}`),
    session: fc.stringMatching(/^[\w+=,.@-]{2,64}$/),
  },
  { requiredKeys: ['connection'] },
)

/** A name without NUL that BSON libraries do not reserve. */
function toFieldName(text: string): string {
  return text.replaceAll('\0', '').replace(/^(\$.*|_bsontype|__proto__)$/, 'x')
}

t.test(
  'whatever a client sends: at most 512 bytes, a complete marker, and the whole application and driver',
  async t => {
    let refused = 0
    fc.assert(
      fc.property(fc.oneof(arbitraryMetadata, fullMetadata), arbitraryMarker, (metadata, marker) => {
        const mark = markMetadata(undefined, marker).platform
        const fault = faultOf(() => markMetadata(metadata, marker))
        const { application, driver } = metadata
        const needed = { ...(application && { application }), driver, os: { type: '' }, platform: mark }
        if (fault) {
          refused += 1
          return fault.kind === 'hello/metadata-too-large' && calculateObjectSize(needed) > MAX_METADATA_BYTES
        }
        const bytes = Buffer.from(serialize(markMetadata(metadata, marker)))
        const marked = deserialize(bytes)
        const whole = (part: Document | undefined) =>
          JSON.stringify(part)?.replace(/mongo-iam-proxy\//gi, 'mongo-iam-proxy_')
        return (
          bytes.length <= MAX_METADATA_BYTES &&
          (marked.platform === mark || marked.platform.startsWith(`${mark} | `)) &&
          bytes.toString('latin1').split(/mongo-iam-proxy\//i).length === 2 &&
          JSON.stringify(marked.application) === whole(application) &&
          JSON.stringify(marked.driver) === whole(driver) &&
          !JSON.stringify(marked).includes('\ufffd')
        )
      }),
      { numRuns: 2000 },
    )
    t.comment(`${refused} of 2000 have no room for the marker`)
  },
)

t.test('name and version are those of package.json', async t => {
  const { name, version } = JSON.parse(readFileSync('package.json', 'utf8'))
  t.same([PROXY_NAME, VERSION], [name, version])
})
