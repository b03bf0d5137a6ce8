import t from 'tap'
import { parseTarget } from '../../../src/commands/doctor/target.js'
import { faultOf } from '../../support/faults.js'

const noFile = (): Buffer => {
  throw Object.assign(new Error('no file'), { code: 'ENOENT' })
}
const parse = (text: string, flags = {}) => parseTarget(text, flags, noFile)
const AWS = 'authSource=%24external&authMechanism=MONGODB-AWS'

t.test('an address is host:port, with flags for its options', async t => {
  t.match(parse('mongo.test:27018'), {
    addresses: ['mongo.test:27018'],
    tls: undefined,
    isDirect: false,
    diagnoses: [],
  })
  t.match(parse('mongo.test:27018', { tls: true, replicaSet: 'rs0' }), { tls: { verify: 'full' }, replicaSet: 'rs0' })
  t.match(parse('mongo.test', { caFile: '/ca.pem' }).diagnoses, [
    { level: 'failure', text: /\/ca\.pem cannot be read/ },
  ])
})

t.test('a connection string is that of an application', async t => {
  const target = parse(`mongodb://a.test,b.test:1/app?replicaSet=rs0&tls=true&tlsAllowInvalidHostnames=true&w=1&${AWS}`)
  t.match(target, {
    addresses: ['a.test', 'b.test:1'],
    replicaSet: 'rs0',
    tls: { verify: 'chain' },
    keys: undefined,
    diagnoses: [{ level: 'ok' }],
  })
  t.match(parse(`mongodb+srv://cluster.example.test/?${AWS}`), {
    addresses: [],
    srv: 'cluster.example.test',
    tls: { verify: 'full' },
  })
})

t.test('options that keep a driver from logging in are found', async t => {
  for (const [options, level, text] of [
    ['', 'warning', /add it, and authSource/],
    ['authMechanism=SCRAM-SHA-256', 'failure', /write authMechanism=MONGODB-AWS/],
    ['authMechanism=MONGODB-AWS&authSource=', 'failure', /a shell has replaced/],
    ['authMechanism=MONGODB-AWS&authSource=admin', 'failure', /write authSource=%24external/],
    [`${AWS}&loadBalanced=true`, 'failure', /loadBalanced/],
    [`${AWS}&readPreference=secondary`, 'warning', /finds no server/],
  ] as const) {
    t.match(parse(`mongodb://a.test/?${options}`).diagnoses, [{ level, text }], options)
  }
})

t.test('keys in a connection string are used, and a + in a token becomes a blank as in drivers', async t => {
  const { keys, diagnoses } = parse(`mongodb://AKIA:a%2Fb@a.test/?${AWS}&authMechanismProperties=AWS_SESSION_TOKEN:x+y`)
  t.equal(keys?.accessKeyId, 'AKIA')
  t.equal(keys?.secretAccessKey.reveal(), 'a/b')
  t.equal(keys?.sessionToken?.reveal(), 'x y')
  t.match(diagnoses, [{ level: 'warning', text: /contains AWS keys/ }])
})

t.test('an unusable argument is a fault that does not repeat it', async t => {
  for (const text of ['mongodb://', 'hunter2@a.test', 'http://a.test', 'a.test:99999', '', 'mongodb://u:%zz@a.test/']) {
    const fault = faultOf(() => parse(text))
    t.match(fault, { kind: 'usage' }, text)
    t.notMatch(fault?.message, 'hunter2')
  }
  t.match(
    faultOf(() => parse('mongodb://a.test/', { tls: true })),
    { kind: 'usage', detail: /connection string/ },
  )
})
