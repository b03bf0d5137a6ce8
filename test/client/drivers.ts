import t from 'tap'
import { detectsClosedConnections, reauthenticates } from '../../src/client/drivers.js'

const metadataOf = (name: unknown, version: unknown) => ({ driver: { name, version } })

t.test('code 391 is for releases that log in again by themselves', async t => {
  for (const [name, version, expected] of [
    ['nodejs', '5.2', true],
    ['nodejs', '5.2.0', true],
    ['nodejs', '5.10.0', true], // later than 5.2 as a number, earlier as a text
    ['nodejs', '7.9.0', true],
    ['nodejs', '10.0.0', true],
    ['nodejs', '7', true],
    ['nodejs', '5.1.0', false],
    ['nodejs', '5.0.1', false],
    ['nodejs', '5', false],
    ['nodejs', '4.17.2', false],
    ['nodejs|Mongoose', '6.5.0|8.1.0', true],
    ['nodejs|Mongoose', '4.17.2|7.0.0', false], // the version is that of the driver, not of the library
    ['PyMongo', '4.4', true],
    ['PyMongo', '4.4.0', true],
    ['PyMongo', '4.10.1', true],
    ['PyMongo', '4.3.3', false],
    ['PyMongo|c|Motor', '4.10.1|3.7.1', true],
    ['PyMongo|c|Motor', '4.3.3|4.4.0', false],
    ['mongo-java-driver|sync', '5.1.0', true],
    ['mongo-java-driver|reactive-streams', '5.14.0', true],
    ['mongo-java-driver|sync|spring-boot', '5.1.0', true],
    ['mongo-java-driver|sync', '5.0.1', false],
    ['mongo-java-driver|sync', '4.11.5', false],
  ] as const) {
    t.equal(reauthenticates(metadataOf(name, version)), expected, `${name} ${version}`)
  }
})

t.test('other drivers get no code 391, whatever their version', async t => {
  for (const name of [
    'mongo-csharp-driver',
    'nodejs-core',
    'nodejs core',
    'NodeJS',
    ' nodejs',
    'nodejsomething',
    'pymongo',
    'PyMongoArrow',
    'mongo-java-driver-legacy',
    'mongo-go-driver',
    'mongoc / mongocxx',
    'mongo-rust-driver',
    'other|nodejs',
    '|nodejs',
    '',
    'constructor',
    '__proto__',
  ]) {
    t.equal(reauthenticates(metadataOf(name, '99.0.0')), false, name)
  }
})

t.test('a version that cannot be read gets no code 391', async t => {
  for (const version of [
    '',
    '5.x',
    '^5.2.0',
    'v7.9.0',
    '7.9.0-beta.1',
    '5.2.0-SNAPSHOT',
    '5.1.0-beta0',
    '7.9.',
    '.7',
    '7..9',
    ' 7.9.0',
    '7.9.0\n',
    '７.9.0',
    '1e9',
    '0x10',
    'Infinity',
    '-7.9',
    '|7.9.0',
    7.9,
    null,
    undefined,
    ['7.9.0'],
  ]) {
    for (const name of ['nodejs', 'PyMongo', 'mongo-java-driver']) {
      t.equal(reauthenticates(metadataOf(name, version)), false, `${name} ${String(version)}`)
    }
  }
})

t.test('a client without metadata, or with a name that is no text, gets no code 391', async t => {
  for (const metadata of [undefined, {}, { driver: null }, { driver: 'nodejs' }, metadataOf(['nodejs'], '7.9.0')]) {
    t.equal(reauthenticates(metadata), false)
    t.equal(detectsClosedConnections(metadata), false)
  }
})

t.test('only the pools of nodejs notice closed connections', async t => {
  for (const [name, expected] of [
    ['nodejs', true],
    ['nodejs|Mongoose', true],
    ['nodejs-core', false],
    ['nodejs something', false],
    ['PyMongo', false],
    ['mongo-java-driver|sync', false],
  ] as const) {
    t.equal(detectsClosedConnections(metadataOf(name, '7.9.0')), expected, name)
  }
})
