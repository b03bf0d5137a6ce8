import { readFileSync } from 'node:fs'
import { createSecureContext } from 'node:tls'
import t from 'tap'
import { Secret } from '../../src/log.js'
import { createTarget, parseUpstreamUri } from '../../src/upstream/target.js'
import { faultOf } from '../support/faults.js'

const PEM = new URL('../support/tls/', import.meta.url)
const readFile = (path: string) => readFileSync(new URL(path, PEM))
const parse = (uri: string) => parseUpstreamUri(new Secret(uri), readFile)
/** The target of the first address. */
const parseTarget = (uri: string) => {
  const { connectionOptions, seeds } = parse(uri)
  return createTarget(connectionOptions, seeds[0] ?? '')
}
const problemsOf = (uri: string): string => {
  const fault = faultOf(() => parseTarget(uri))
  if (fault && fault.kind !== 'config/invalid') throw fault
  return fault?.message ?? 'no problem'
}

t.test('an address has a port by default and is in lower case', async t => {
  t.match(parseTarget('mongodb://Mongo-0.Example.com'), { host: 'mongo-0.example.com', port: 27017 })
  t.match(parseTarget('mongodb://10.0.0.7:27018/'), {
    address: '10.0.0.7:27018',
    tls: undefined,
    replicaSet: undefined,
  })
  t.match(parseTarget('mongodb://[2001:DB8::1]:27018'), { host: '2001:db8::1', address: '[2001:db8::1]:27018' })
  t.match(parseTarget('mongodb://[::1]'), { host: '::1', port: 27017 })
})

t.test('option names are case-insensitive', async t => {
  t.match(parseTarget('mongodb://h/?directConnection=true&REPLICASET=rs0&connectTimeoutMS=250'), {
    replicaSet: 'rs0',
    connectTimeoutMS: 250,
  })
  t.equal(parseTarget('mongodb://h').connectTimeoutMS, 10_000)
})

t.test('a connection string has several addresses, or a name that DNS resolves', async t => {
  t.match(parse('mongodb://B:2,a,b:2/?replicaSet=rs0'), {
    name: 'b:2,a:27017',
    seeds: ['b:2', 'a:27017'],
    srv: undefined,
    directConnection: false,
    connectionOptions: { replicaSet: 'rs0', tls: undefined },
  })
  const srv = parse('mongodb+srv://Cluster.Example.com/?replicaSet=rs0')
  t.match(srv, { name: 'cluster.example.com', seeds: [], srv: 'cluster.example.com' })
  t.ok(srv.connectionOptions.tls, 'TLS is on by default')
  t.equal(parse('mongodb+srv://cluster.example.com/?tls=false').connectionOptions.tls, undefined)
  t.equal(parse('mongodb://a/?directConnection=true').directConnection, true)
  t.equal(parse('mongodb://a/?directConnection=false').directConnection, false)
})

t.test('text that is not an address of a member is rejected', async t => {
  const { connectionOptions } = parse('mongodb://a')
  for (const text of ['', 'a:0', 'a b', 'a/b', 'x'.repeat(300), '[::1', '::1', 'user@host']) {
    t.equal(faultOf(() => createTarget(connectionOptions, text))?.kind, 'upstream/protocol-error', text)
  }
})

t.test('an unsupported option is named', async t => {
  t.match(problemsOf('mongodb://a/?loadBalanced=true'), /loadBalanced/)
  for (const uri of ['mongodb://a,b/?directConnection=true', 'mongodb+srv://a.example.com/?directConnection=true']) {
    t.match(problemsOf(uri), /directConnection=true is for one address/, uri)
  }
})

t.test('a user, a database and unknown options are problems, and no value is repeated', async t => {
  t.match(problemsOf('mongodb://root:hunter2@h'), /must not name a user/)
  t.match(problemsOf('mongodb://root@h'), /must not name a user/)
  t.match(problemsOf('mongodb://h/app'), /must not name a database/)
  t.match(problemsOf('mongodb://h/?authSource=admin'), /authSource: database users come from `users`/)
  t.match(problemsOf('mongodb://h/?retryWrites=true'), /retryWrites: the proxy does not use/)
  for (const uri of ['mongodb://root:hunter2@h/?tls=hunter2&x=hunter2', 'mongodb://:hunter2@h', 'hunter2']) {
    t.match(problemsOf(uri), /upstream\.uri/)
    t.notMatch(problemsOf(uri), /hunter2/)
  }
})

t.test('all problems are reported at once', async t => {
  const fault = faultOf(() => parseTarget('mongodb://u:p@a,b/db?w=1&tls=perhaps&connectTimeoutMS=0&replicaSet='))
  t.match(fault?.facts.problems, { length: 6 })
})

t.test('invalid addresses are reported', async t => {
  for (const host of ['h:0', 'h:65536', 'h:x', '[::1', '[::g]', '::1', '%2Ftmp%2Fmongodb-27017.sock']) {
    t.match(problemsOf(`mongodb://${host}/`), /upstream\.uri/, host)
  }
})

t.test('TLS options set files, SNI and verification', async t => {
  const context = createSecureContext().constructor
  const { tls } = parseTarget('mongodb://h/?tls=true&tlsCAFile=ca.pem&servername=upstream.test')
  t.ok(tls?.context instanceof context)
  t.match(tls, { servername: 'upstream.test', verify: 'full' })
  t.ok(parseTarget('mongodb://h/?ssl=true&tlsCertificateKeyFile=client.pem&tlsCertificateKeyFilePassword=sesame').tls)
  t.match(parseTarget('mongodb://h/?tls=true&tlsAllowInvalidHostnames=true').tls, { verify: 'chain' })
  t.match(parseTarget('mongodb://h/?tls=true&tlsAllowInvalidCertificates=true').tls, { verify: 'none' })
  t.match(parseTarget('mongodb://h/?tls=true&tlsInsecure=true').tls, { verify: 'none' })
  t.match(parseTarget('mongodb://h/?tls=true&tlsInsecure=false').tls, { verify: 'full' })
  t.equal(parseTarget('mongodb://h/?tls=false').tls, undefined)
})

t.test('TLS options that contradict each other, have no effect or cannot be used are problems', async t => {
  t.match(problemsOf('mongodb://h/?tls=true&ssl=false'), /contradict/)
  t.match(problemsOf('mongodb://h/?tls=true&tlsInsecure=true&tlsAllowInvalidHostnames=true'), /one or the other/)
  t.match(problemsOf('mongodb://h/?tlsCAFile=ca.pem'), /tlsCAFile: has no effect without tls=true/)
  t.match(
    problemsOf('mongodb://h/?tls=true&tlsCAFile=none.pem'),
    /tlsCAFile: a path of 8 characters \(not shown\) cannot be read \(ENOENT\)/,
  )
  t.match(problemsOf('mongodb://h/?tls=true&tls=true'), /given twice/)
  for (const more of ['', '&tlsCertificateKeyFilePassword=wrong']) {
    t.match(problemsOf(`mongodb://h/?tls=true&tlsCertificateKeyFile=client.pem${more}`), /TLS cannot use it/)
  }
})
