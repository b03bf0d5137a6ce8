/** The real mongosh through the demo, called as in the documentation of its vendor. */
import t from 'tap'
import { type AwsKeys, credentialEnvironment, requireClients, runMongosh } from '../support/clients.js'
import { startDemo } from '../support/demo.js'

await requireClients('mongosh')

const { uri, alice, orders, operator } = await startDemo(t)

/** Credentials as arguments. */
function argumentsOf({ accessKeyId, secretAccessKey, sessionToken }: AwsKeys): string[] {
  const user = ['--username', accessKeyId, '--password', secretAccessKey]
  return sessionToken === undefined ? user : [...user, '--awsIamSessionToken', sessionToken]
}

const AUTHENTICATED_USERS = 'db.runCommand({ connectionStatus: 1 }).authInfo.authenticatedUsers'

t.test('an IAM user logs in with --username and --password', async t => {
  const { code, stdout, stderr } = await runMongosh(t, [
    uri(),
    ...argumentsOf(alice),
    '--quiet',
    '--json',
    '--eval',
    AUTHENTICATED_USERS,
  ])
  t.same(JSON.parse(stdout), [{ user: 'alice', db: 'admin' }])
  t.same({ code, stderr }, { code: 0, stderr: '' })
})

t.test('a role logs in with --awsIamSessionToken, and has only its privileges', async t => {
  const shown = await runMongosh(t, [uri(), ...argumentsOf(orders), '--quiet', '--json', '--eval', AUTHENTICATED_USERS])
  t.same(JSON.parse(shown.stdout), [{ user: 'orders-api', db: 'admin' }])
  const script = 'db.getSiblingDB("app").orders.insertOne({ n: 1 })'
  const { code, stdout } = await runMongosh(t, [uri(), ...argumentsOf(orders), '--quiet', '--json', '--eval', script])
  t.equal(code, 1)
  t.match(JSON.parse(stdout), { codeName: 'Unauthorized', code: { $numberInt: '13' } })
})

t.test('both log in with credentials of the environment', async t => {
  for (const principal of [alice, orders]) {
    const { stdout } = await runMongosh(t, [uri(), '--quiet', '--json', '--eval', AUTHENTICATED_USERS], {
      env: credentialEnvironment(principal),
    })
    t.same(JSON.parse(stdout), [{ user: principal.user, db: 'admin' }])
  }
})

t.test('credentials in the connection string are accepted', async t => {
  const login = `${encodeURIComponent(orders.accessKeyId)}:${encodeURIComponent(orders.secretAccessKey)}@`
  const token = `&authMechanismProperties=AWS_SESSION_TOKEN:${encodeURIComponent(orders.sessionToken ?? '')}`
  const inside = `${uri().replace('mongodb://', `mongodb://${login}`)}${token}`
  const { stdout } = await runMongosh(t, [inside, '--quiet', '--json', '--eval', AUTHENTICATED_USERS])
  t.same(JSON.parse(stdout), [{ user: 'orders-api', db: 'admin' }])
})

t.test('with a wrong secret the error names the code of STS', async t => {
  const wrong = { ...alice, secretAccessKey: 'guessed' }
  const { code, stderr } = await runMongosh(t, [uri(), ...argumentsOf(wrong), '--quiet', '--eval', '1'])
  t.equal(code, 1)
  t.match(stderr, /MongoServerError: AWS STS refused the credentials: SignatureDoesNotMatch/)
})

t.test('an interactive session works without an error', async t => {
  const input = [
    'show dbs',
    'db.things.insertMany([{ n: 1 }, { n: 2 }, { n: 3 }])',
    'db.things.find({ n: { $gt: 1 } }).sort({ n: -1 })',
    'for (let n = 4; n <= 50; n++) db.things.insertOne({ n })',
    'db.things.find({}, { _id: 0 })',
    'it',
    'db.things.updateMany({}, { $set: { updated: true } }).modifiedCount',
    'db.things.aggregate([{ $group: { _id: null, total: { $sum: "$n" } } }])',
    'db.things.createIndex({ n: 1 })',
    'db.things.getIndexes()',
    'db.things.find({ n: 1 }).explain().ok',
    'show collections',
    'db.things.stats().count',
    'db.stats().ok',
    'db.serverStatus().ok',
    'db.hello().maxBsonObjectSize',
    'db.version()',
    'show log global',
    'db.things.drop()',
    'exit',
  ]
  const { code, stdout, stderr, problems } = await runMongosh(t, [uri('shop'), ...argumentsOf(operator)], {
    input: `${input.join('\n')}\n`,
  })
  t.equal(code, 0)
  t.equal(stderr, '')
  t.same(problems, [], 'and its own log has none')
  t.notMatch(stdout, /error|uncaught/i)
  t.match(stdout, /Type "it" for more/)
  t.match(stdout, /total: 1275/)
})
