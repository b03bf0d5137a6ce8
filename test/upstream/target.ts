import { readFileSync } from 'node:fs'
import { createSecureContext } from 'node:tls'
import t from 'tap'
import { Secret } from '../../src/log.js'
import { createTarget, parseUpstreamUri } from '../../src/upstream/target.js'
import { faultOf } from '../support/faults.js'

const PEM = new URL('../support/tls/', import.meta.url)
const readFile = (path: string) => readFileSync(new URL(path, PEM))
const said = (uri: string) => parseUpstreamUri(new Secret(uri), readFile)
/** The first address with what is said of all. */
const read = (uri: string) => {
  const { connectionOptions: template, seeds } = said(uri)
  return createTarget(template, seeds[0] ?? '')
}
const problemsOf = (uri: string): string => {
  const fault = faultOf(() => read(uri))
  if (fault && fault.kind !== 'config/invalid') throw fault
  return fault?.message ?? 'no problem'
}

t.test('one address, with a port or without, lower case', async t => {
  t.match(read('mongodb://Mongo-0.Example.com'), { host: 'mongo-0.example.com', port: 27017 })
  t.match(read('mongodb://10.0.0.7:27018/'), { address: '10.0.0.7:27018', tls: undefined, replicaSet: undefined })
  t.match(read('mongodb://[2001:DB8::1]:27018'), { host: '2001:db8::1', address: '[2001:db8::1]:27018' })
  t.match(read('mongodb://[::1]'), { host: '::1', port: 27017 })
})

t.test('options, whatever their case', async t => {
  t.match(read('mongodb://h/?directConnection=true&REPLICASET=rs0&connectTimeoutMS=250'), {
    replicaSet: 'rs0',
    connectTimeoutMS: 250,
  })
  t.equal(read('mongodb://h').connectTimeoutMS, 10_000)
})

t.test('several addresses, each once, and a name that is looked up', async t => {
  t.match(said('mongodb://B:2,a,b:2/?replicaSet=rs0'), {
    name: 'b:2,a:27017',
    seeds: ['b:2', 'a:27017'],
    srv: undefined,
    direct: false,
    template: { replicaSet: 'rs0', tls: undefined },
  })
  const looked = said('mongodb+srv://Cluster.Example.com/?replicaSet=rs0')
  t.match(looked, { name: 'cluster.example.com', seeds: [], srv: 'cluster.example.com' })
  t.ok(looked.connectionOptions.tls, 'TLS is on unless told')
  t.equal(said('mongodb+srv://cluster.example.com/?tls=false').connectionOptions.tls, undefined)
  t.equal(said('mongodb://a/?directConnection=true').directConnection, true)
  t.equal(said('mongodb://a/?directConnection=false').directConnection, false)
})

t.test('what is no address of a member', async t => {
  const { connectionOptions: template } = said('mongodb://a')
  for (const text of ['', 'a:0', 'a b', 'a/b', 'x'.repeat(300), '[::1', '::1', 'user@host']) {
    t.equal(faultOf(() => createTarget(template, text))?.kind, 'upstream/protocol-error', text)
  }
})

t.test('what this version cannot do is said in a sentence', async t => {
  t.match(problemsOf('mongodb://a/?loadBalanced=true'), /loadBalanced/)
  for (const uri of ['mongodb://a,b/?directConnection=true', 'mongodb+srv://a.example.com/?directConnection=true']) {
    t.match(problemsOf(uri), /directConnection=true is for one address/, uri)
  }
})

t.test('what does not belong there is a problem, and no value is repeated', async t => {
  t.match(problemsOf('mongodb://root:hunter2@h'), /no user belongs here/)
  t.match(problemsOf('mongodb://root@h'), /no user belongs here/)
  t.match(problemsOf('mongodb://h/app'), /no database belongs here/)
  t.match(problemsOf('mongodb://h/?authSource=admin'), /authSource: database users come from `users`/)
  t.match(problemsOf('mongodb://h/?retryWrites=true'), /retryWrites: the proxy does not use/)
  for (const uri of ['mongodb://root:hunter2@h/?tls=hunter2&x=hunter2', 'mongodb://:hunter2@h', 'hunter2']) {
    t.match(problemsOf(uri), /upstream\.uri/)
    t.notMatch(problemsOf(uri), /hunter2/)
  }
})

t.test('every problem is named at once', async t => {
  const fault = faultOf(() => read('mongodb://u:p@a,b/db?w=1&tls=perhaps&connectTimeoutMS=0&replicaSet='))
  t.match(fault?.facts.problems, { length: 6 })
})

t.test('addresses that are none', async t => {
  for (const host of ['h:0', 'h:65536', 'h:x', '[::1', '[::g]', '::1', '%2Ftmp%2Fmongodb-27017.sock']) {
    t.match(problemsOf(`mongodb://${host}/`), /upstream\.uri/, host)
  }
})

t.test('TLS: files, names and how much is verified', async t => {
  const context = createSecureContext().constructor
  const { tls } = read('mongodb://h/?tls=true&tlsCAFile=ca.pem&servername=upstream.test')
  t.ok(tls?.context instanceof context)
  t.match(tls, { servername: 'upstream.test', verify: 'full' })
  t.ok(read('mongodb://h/?ssl=true&tlsCertificateKeyFile=client.pem&tlsCertificateKeyFilePassword=sesame').tls)
  t.match(read('mongodb://h/?tls=true&tlsAllowInvalidHostnames=true').tls, { verify: 'chain' })
  t.match(read('mongodb://h/?tls=true&tlsAllowInvalidCertificates=true').tls, { verify: 'none' })
  t.match(read('mongodb://h/?tls=true&tlsInsecure=true').tls, { verify: 'none' })
  t.match(read('mongodb://h/?tls=true&tlsInsecure=false').tls, { verify: 'full' })
  t.equal(read('mongodb://h/?tls=false').tls, undefined)
})

t.test('TLS settings that contradict, do nothing or cannot be used', async t => {
  t.match(problemsOf('mongodb://h/?tls=true&ssl=false'), /contradict/)
  t.match(problemsOf('mongodb://h/?tls=true&tlsInsecure=true&tlsAllowInvalidHostnames=true'), /one or the other/)
  t.match(problemsOf('mongodb://h/?tlsCAFile=ca.pem'), /tlsCAFile: means nothing without tls=true/)
  t.match(problemsOf('mongodb://h/?tls=true&tlsCAFile=none.pem'), /none\.pem cannot be read \(ENOENT\)/)
  t.match(problemsOf('mongodb://h/?tls=true&tls=true'), /given twice/)
  for (const more of ['', '&tlsCertificateKeyFilePassword=wrong']) {
    t.match(problemsOf(`mongodb://h/?tls=true&tlsCertificateKeyFile=client.pem${more}`), /not what TLS can use/)
  }
})
