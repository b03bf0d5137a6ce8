import { readFileSync } from 'node:fs'
import { createSecureContext } from 'node:tls'
import t from 'tap'
import { Secret } from '../../src/log.js'
import { readTarget } from '../../src/upstream/target.js'
import { faultOf } from '../support/faults.js'

const PEM = new URL('../support/tls/', import.meta.url)
const readFile = (path: string) => readFileSync(new URL(path, PEM))
const read = (uri: string) => readTarget(new Secret(uri), readFile)
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

t.test('what this version cannot do is said in a sentence', async t => {
  for (const uri of ['mongodb://a,b/?replicaSet=rs0', 'mongodb://a:1,b:2', 'mongodb+srv://cluster.example.com']) {
    t.match(problemsOf(uri), /upstream\.uri: this version takes one address/, uri)
  }
  t.match(problemsOf('mongodb://a/?loadBalanced=true'), /loadBalanced/)
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
  t.match(fault?.facts.problems, { length: 7 })
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
