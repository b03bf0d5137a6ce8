import { readFileSync } from 'node:fs'
import t from 'tap'
import { compilePolicy } from '../../src/app/policy.js'
import { divideConnections } from '../../src/config/connectionLimits.js'
import { type Compile, type ConfigSources, loadAndCompile, loadConfig } from '../../src/config/load.js'
import { Secret } from '../../src/log.js'
import { faultOf } from '../support/faults.js'

/** The first certificate and the key of a PEM file that has both. */
function pair(name: string) {
  const text = readFileSync(new URL(`../support/tls/${name}`, import.meta.url), 'utf8')
  const block = (what: RegExp) => what.exec(text)?.[0] ?? ''
  return {
    cert: block(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----\n/),
    key: block(/-----BEGIN (\w+ )?PRIVATE KEY-----[^-]+-----END (\w+ )?PRIVATE KEY-----\n/),
  }
}
const first = pair('upstream.pem')
const second = pair('misnamed.pem')
const encrypted = pair('client.pem')
const FILE = 'proxy.yaml'
type Given = Partial<Omit<ConfigSources, 'readFile' | 'file'>> & {
  yaml?: string
  files?: Record<string, string | Buffer>
  compile?: Compile<undefined>
}

/** Loads from files in memory. Every user may read a file whose name ends in `.open`. */
function loaded({ yaml, files = {}, args = {}, env = {}, compile, running, requireEndMark }: Given) {
  const all: Record<string, string | Buffer> = { ...files, ...(yaml !== undefined && { [FILE]: yaml }) }
  const sources: ConfigSources = {
    file: yaml === undefined ? undefined : FILE,
    args,
    env,
    running,
    requireEndMark,
    readFile: path => {
      const text = all[path]
      if (text === undefined) throw Object.assign(new Error('no'), { code: path === './locked' ? 'EACCES' : 'ENOENT' })
      return { bytes: Buffer.from(text), mode: path.endsWith('.open') ? 0o100644 : 0o100600 }
    },
  }
  return compile ? loadAndCompile(sources, compile).config : loadConfig(sources)
}
const problemsOf = (given: Given): unknown => faultOf(() => loaded(given))?.facts.problems
const upstream = { 'upstream.uri': 'mongodb://127.0.0.1:27018/' }
/** Finds the problems of the policy, too. */
const withCompiledPolicy: Compile<undefined> = (config, origins) => {
  const { problems } = compilePolicy(config, () => ({ bytes: Buffer.alloc(0), mode: 0 }), origins)
  return { compiled: undefined, problems }
}
/** The problems of a configuration that has an upstream. */
const problems = (given: Given) => problemsOf({ ...given, args: { ...upstream, ...given.args } })

t.test('only the upstream is required', async t => {
  const config = loaded({ args: upstream })
  t.match(config, {
    listen: {
      host: '127.0.0.1',
      port: 27017,
      backlog: 4096,
      connections: 20000,
      perAddress: 1000,
      reauthenticate: 'ask',
    },
    tls: undefined,
    sts: {
      hosts: [{ host: 'sts.amazonaws.com', connect: undefined }],
      insecure: false,
      quota: 600,
      share: 0.9,
      successCache: 0,
    },
    login: { queueTimeout: 4000, timeout: 8000, perAddress: 1000, failures: 10, failurePeriod: 60_000, shadow: false },
    ldap: { assume: undefined, every: 60_000 },
    drain: { delay: 15_000, timeout: 30_000 },
    admin: { host: '127.0.0.1', port: 9216 },
    log: { level: 'info' },
    users: [],
    warnings: ['users: there are no rules, so no client can log in'],
  })
  t.equal(config.upstream.uri.reveal(), 'mongodb://127.0.0.1:27018/')
  t.equal(config.upstream.admin, undefined)
  t.same(problemsOf({}), ['upstream.uri: required: set it or upstream.uriFile'])
})

t.test('a complete file is loaded', async t => {
  const yaml = `
    listen: { host: 0.0.0.0, port: 27017 }
    tls: { certFile: tls.crt, keyFile: tls.key }
    upstream:
      uri: mongodb://mongo-0:27017/
      admin: { uriFile: admin-uri }
    sts:
      hosts:
        - sts.eu-west-1.amazonaws.com
        - { host: sts.eu-central-1.amazonaws.com, connect: "vpce-1.example.com:8443" }
        - { host: sts.us-east-1.amazonaws.com, connect: "[::1]:443" }
      quota: 300
    ldap: { assume: off, every: 5m }
    admin: { port: off }
    users:
      - { arn: "arn:aws:iam::123456789012:user/alice", user: alice@admin, passwordFile: alice }
      - arn: arn:aws:iam::123456789012:role/orders/*
        user: orders
        passwordEnv: MONGO_IAM_PROXY_ORDERS
  `
  const config = loaded({
    yaml,
    env: { MONGO_IAM_PROXY_ORDERS: 'from the environment' },
    files: {
      'tls.crt': first.cert,
      'tls.key': first.key,
      'admin-uri': 'mongodb://root:secret@mongo-0/\n',
      alice: 'pass word \r\n',
    },
  })
  t.match(config, {
    listen: { host: '0.0.0.0' },
    tls: { cert: first.cert.trimEnd() },
    sts: {
      hosts: [
        { host: 'sts.eu-west-1.amazonaws.com', connect: undefined },
        { host: 'sts.eu-central-1.amazonaws.com', connect: { host: 'vpce-1.example.com', port: 8443 } },
        { host: 'sts.us-east-1.amazonaws.com', connect: { host: '::1', port: 443 } },
      ],
      quota: 300,
    },
    ldap: { assume: 'off', every: 300_000 },
    admin: { port: 'off' },
    users: [{ user: 'alice@admin' }, { user: 'orders', arn: 'arn:aws:iam::123456789012:role/orders/*' }],
  })
  t.equal(config.upstream.admin?.reveal(), 'mongodb://root:secret@mongo-0/')
  t.same(
    config.users.map(({ password }) => password?.reveal()),
    ['pass word ', 'from the environment'],
  )
  t.ok(config.tls?.key instanceof Secret)
  t.same(config.warnings, [])
  t.notMatch(JSON.stringify(config), /secret@|pass word|from the env|PRIVATE/)
})

t.test('a flag overrides a variable, which overrides the file, which overrides the default', async t => {
  const yaml = 'sts: { quota: 100 }\nlogin: { timeout: 9s }\nlisten: { port: 1 }'
  const env = { MONGO_IAM_PROXY_STS_QUOTA: '200', MONGO_IAM_PROXY_LOGIN_TIMEOUT: '10s' }
  const config = loaded({ yaml, env, args: { ...upstream, 'sts.quota': '300' } })
  t.equal(config.sts.quota, 300)
  t.equal(config.login.timeout, 10_000)
  t.equal(config.listen.port, 1)
  t.equal(config.ldap.every, 60_000)
})

t.test('the timeout of a login follows that of its queue, unless it is set', async t => {
  const loginOf = (args: Record<string, string>) => loaded({ args: { ...upstream, ...args } }).login
  t.match(loginOf({}), { queueTimeout: 4_000, timeout: 8_000 })
  t.match(loginOf({ 'login.queueTimeout': '20s' }), { queueTimeout: 20_000, timeout: 24_000 })
  t.match(loginOf({ 'login.queueTimeout': '100ms' }), { queueTimeout: 100, timeout: 4_100 })
  t.match(loginOf({ 'login.queueTimeout': '10s', 'login.timeout': '14s' }), { timeout: 14_000 })
  t.match(loginOf({ 'login.timeout': '30s' }), { queueTimeout: 4_000, timeout: 30_000 })
})

t.test('a login that may take no longer than its queue is a problem', async t => {
  t.same(problems({ yaml: 'login: { queueTimeout: 10s, timeout: 13s }', args: upstream }), [
    'login.timeout: must be at least 14s, which is login.queueTimeout (10s) and 4s for STS and the upstream: remove it, or set a shorter login.queueTimeout (from proxy.yaml:1:29)',
  ])
  t.match(problems({ args: { ...upstream, 'login.timeout': '7999ms' } }), [/^login\.timeout: must be at least 8s, /])
  t.match(problems({ args: { ...upstream, 'login.queueTimeout': '100ms', 'login.timeout': '4s' } }), [/ 4100ms, /])
  t.same(problems({ args: { ...upstream, 'login.queueTimeout': '21s', 'login.timeout': '1s' } }), [
    'login.queueTimeout: expected a duration from 100ms to 20s, got "21s" (from --login-queue-timeout)',
  ])
})

t.test('every problem is reported at once, each with its source', async t => {
  const fault = faultOf(() =>
    loaded({
      yaml: 'listen:\n  prot: 27017\n  backlog: many\nlog: { level: loud }\nusers: [{ arn: 5, user: u }]\n',
      env: {
        MONGO_IAM_PROXY_LOGIN_TIMEOUT: '5 seconds',
        MONGO_IAM_PROXY_STS_QUOTA: '',
        MONGO_IAM_PROXY_STS_QUOTE: '1',
      },
      args: { 'drain.delay': '90m' },
    }),
  )
  t.equal(fault?.kind, 'config/invalid')
  const expected = [
    'listen: there is no such setting, a text of 4 characters; did you mean port? (from proxy.yaml:2:3)',
    'listen.backlog: expected a whole number from 1 to 65535, got a text of 4 characters (from proxy.yaml:3:3)',
    'sts.quota: is empty: set a value, or remove it (from MONGO_IAM_PROXY_STS_QUOTA)',
    'login.timeout: expected a duration like 500ms, 5s or 2m, got a text of 9 characters (from MONGO_IAM_PROXY_LOGIN_TIMEOUT)',
    'drain.delay: expected a duration from 0s to 1h, got "90m" (from --drain-delay)',
    'log.level: expected debug, info, warn or error, got a text of 4 characters (from proxy.yaml:4:8)',
    'users[0].arn: is a number in YAML, which drops leading zeros: write it in quotes (from proxy.yaml:5:11)',
    'users[0]: needs either passwordFile or passwordEnv (from proxy.yaml:5:9)',
    'upstream.uri: required: set it or upstream.uriFile',
  ]
  t.same(fault?.facts.problems, expected)
  t.equal(fault?.detail, expected.join('\n'))
})

t.test('every kind of setting has its own message for an invalid value', async t => {
  for (const [path, value, message] of [
    [
      'listen.host',
      'http://x',
      'expected an address like 127.0.0.1 or ::1, or a host name, got a text of 8 characters',
    ],
    ['listen.port', '65536', 'expected a whole number from 0 to 65535, got 65536'],
    ['listen.port', '-1', 'expected a whole number from 0 to 65535, got "-1"'],
    ['listen.port', '1e3', 'expected a whole number from 0 to 65535, got a text of 3 characters'],
    ['listen.connections', '1', 'expected a whole number from 2 to 1000000, got 1'],
    ['sts.share', '0', 'expected a number from 0.01 to 1, got 0'],
    ['sts.share', '90%', 'expected a number from 0.01 to 1, got a text of 3 characters'],
    ['sts.insecure', 'yes', 'expected true or false, got a text of 3 characters'],
    ['sts.insecure', 'tru', 'expected true or false, got a text of 3 characters; did you mean true?'],
    [
      'admin.port',
      'of',
      'expected a whole number from 0 to 65535, or off, got a text of 2 characters; did you mean off?',
    ],
    ['log.level', 'wran', 'expected debug, info, warn or error, got a text of 4 characters; did you mean warn?'],
    ['login.timeout', '8', 'expected a duration like 500ms, 5s or 2m, got "8"'],
    ['login.timeout', '2m', 'expected a duration from 100ms to 1m, got "2m"'],
    ['ldap.assume', 'on', 'expected off, got a text of 2 characters'],
    ['admin.port', 'no', 'expected a whole number from 0 to 65535, or off, got a text of 2 characters'],
    ['tls', 'on', 'expected off, got a text of 2 characters'],
    ['sts.hosts', ',', 'expected a lower-case host name without scheme, port or path, got an empty text'],
  ] as const) {
    const flag = `--${path.replace('.', '-')}`
    t.same([problems({ args: { [path]: value } })].flat()[0], `${path}: ${message} (from ${flag})`)
  }
})

t.test('STS hosts must be names for which every driver signs the same region', async t => {
  const expected = 'expected a lower-case host name without scheme, port or path'
  for (const [host, message] of [
    ['https://sts.amazonaws.com', `${expected}, got a text of 25 characters`],
    ['STS.amazonaws.com', `${expected}, got a text of 17 characters`],
    ['localhost:8443', `${expected}, got a text of 14 characters`],
    ['a..b', `${expected}, got a text of 4 characters`],
    ['.amazonaws.com', `${expected}, got a text of 14 characters`],
    ['sts.ämazon.com', `${expected}, got a text of 14 characters`],
    ['sts.amazonaws.com.cn', 'clients cannot sign for this host: use sts.cn-north-1.amazonaws.com.cn'],
    [
      'vpce-1.sts.us-east-1.vpce.amazonaws.com',
      'clients cannot sign for the name of a VPC endpoint: set host to the regional host, sts.us-east-1.amazonaws.com, and connect to this name',
    ],
  ]) {
    t.same(problems({ args: { 'sts.hosts': `${host}` } }), [`sts.hosts: ${message} (from --sts-hosts)`])
  }
  t.same(problems({ args: { 'sts.hosts': `${'a'.repeat(256)}` } }), [
    `sts.hosts: ${expected}, got a text of 256 characters (from --sts-hosts)`,
  ])
  t.same(problems({ args: { 'sts.hosts': 'sts.amazonaws.com,sts.cn-north-1.amazonaws.com.cn' } }), [
    'sts.hosts: hosts of several partitions: aws, aws-cn (from --sts-hosts)',
  ])
  t.same(problems({ args: { 'sts.hosts': 'my-sts, my-sts' } }), [
    'sts.hosts: entry 2 has the host of entry 1 (from --sts-hosts)',
  ])
  t.same(
    problems({ yaml: 'sts:\n  hosts:\n  - my-sts\n  - { host: B, connect: c }\n  - {}\n  - 5\n  - { hots: d }' }),
    [
      `sts.hosts[1].host: ${expected}, got a text of 1 character (from proxy.yaml:4:7)`,
      'sts.hosts[1].connect: expected host:port, got a text of 1 character (from proxy.yaml:4:16)',
      `sts.hosts[2].host: ${expected}, got nothing (from proxy.yaml:5:5)`,
      'sts.hosts[3]: expected a host, or a mapping of host and connect, got 5 (from proxy.yaml:6:5)',
      `sts.hosts[4].host: ${expected}, got nothing (from proxy.yaml:7:5)`,
      'sts.hosts[4]: there is no such setting, a text of 4 characters; did you mean host? (from proxy.yaml:7:7)',
    ],
  )
  t.same(problems({ yaml: 'sts: { hosts: [] }' }), [
    'sts.hosts: expected at least one host, got an empty list (from proxy.yaml:1:8)',
  ])
})

t.test('plain HTTP to STS is allowed only to loopback', async t => {
  const yaml = (connect: string) => `sts: { insecure: true, hosts: [{ host: my-sts, connect: "${connect}" }] }`
  t.same(problems({ yaml: yaml('10.0.0.1:80') }), [
    'sts.insecure: allowed only if every host of sts.hosts connects to loopback, and entry 1 does not (from proxy.yaml:1:8)',
  ])
  t.same(problems({ args: { 'sts.insecure': 'true' } }), [
    'sts.insecure: allowed only if every host of sts.hosts connects to loopback, and entry 1 does not (from --sts-insecure)',
  ])
  t.ok(loaded({ yaml: yaml('127.0.0.1:80'), args: upstream }).sts.insecure)
})

t.test('sts.proxy is a URL without path and credentials, which are in a file', async t => {
  for (const [url, origin] of [
    ['http://proxy.example.com:3128', 'http://proxy.example.com:3128'],
    ['https://PROXY.example.com', 'https://proxy.example.com'],
    ['http://10.0.0.1:8080/', 'http://10.0.0.1:8080'],
    ['http://[::1]:3128', 'http://[::1]:3128'],
  ] as const) {
    t.equal(loaded({ args: { ...upstream, 'sts.proxy': url } }).sts.proxy, origin)
  }
  const from = '(from --sts-proxy)'
  for (const url of [
    'proxy.example.com:3128',
    'proxy.example.com',
    'socks5://proxy.example.com:1080',
    'http://',
    'http://proxy.example.com:3128/path',
    'http://proxy.example.com:99999',
    'http://proxy.example.com?hunter2',
    'hunter2',
  ]) {
    t.same(problems({ args: { 'sts.proxy': url } }), [
      `sts.proxy: expected a URL like http://proxy.example.com:3128 (not shown) ${from}`,
    ])
  }
  for (const url of ['http://squid:hunter2@proxy.example.com:3128', 'https://hunter2@proxy', 'http://a:b@']) {
    t.same(problems({ args: { 'sts.proxy': url } }), [
      `sts.proxy: must not hold credentials: write user:password into sts.proxyCredentialsFile ${from}`,
    ])
  }
  const args = { ...upstream, 'sts.proxy': 'https://proxy.example.com', 'sts.proxyCredentialsFile': '/proxy' }
  const credentials = (text: string) => loaded({ args, files: { '/proxy': text } }).sts.proxyCredentials?.reveal()
  t.equal(credentials('squid:hunter2\n'), 'squid:hunter2')
  t.equal(credentials('squid:with:colons'), 'squid:with:colons')
  for (const text of ['hunter2', ':hunter2', 'squid:hunter2\nmore', 'squid:\u0000']) {
    t.same(problems({ args, files: { '/proxy': text } }), [
      'sts.proxyCredentialsFile: in /proxy: expected one line, user:password (from --sts-proxy-credentials-file)',
    ])
  }
})

t.test('sts.proxy excludes sts.insecure, and its credentials require it', async t => {
  const args = { 'sts.proxy': 'http://127.0.0.1:3128' }
  const yaml = 'sts: { insecure: true, hosts: [{ host: sts.amazonaws.com, connect: "127.0.0.1:80" }] }\n'
  t.same(problems({ yaml, args }), [
    'sts.proxy: excludes sts.insecure: TLS to STS runs inside the tunnel (from --sts-proxy)',
  ])
  const file = { 'sts.proxyCredentialsFile': '/proxy' }
  t.same(problems({ args: file, files: { '/proxy': 'squid:hunter2' } }), [
    'sts.proxyCredentialsFile: requires sts.proxy (from --sts-proxy-credentials-file)',
  ])
})

t.test('a variable for proxies is a warning unless sts.proxy is set', async t => {
  const warnings = (env: Record<string, string>, args = {}) =>
    loaded({ args: { ...upstream, ...args }, env }).warnings.filter(warning => !warning.startsWith('users'))
  const value = 'http://squid:hunter2@proxy:3128'
  for (const name of ['HTTPS_PROXY', 'https_proxy', 'ALL_PROXY', 'all_proxy']) {
    t.same(warnings({ [name]: value }), [
      `${name}: this variable is ignored. If STS can be reached through a proxy only, set sts.proxy`,
    ])
    t.same(warnings({ [name]: value }, { 'sts.proxy': 'https://proxy' }), [])
    t.same(warnings({ [name]: '' }), [])
  }
  t.same(warnings({ HTTP_PROXY: value }), [])
  const files = { '/proxy': 'squid:hunter2' }
  const withFile = (url: string) =>
    loaded({ args: { ...upstream, 'sts.proxy': url, 'sts.proxyCredentialsFile': '/proxy' }, files }).warnings
  t.match(withFile('http://proxy:3128').join(), /sts\.proxyCredentialsFile: .* plain text/)
  t.notMatch(withFile('http://127.0.0.1:3128').join(), 'plain text')
  t.notMatch(withFile('https://proxy').join(), 'plain text')
})

t.test('NODE_TLS_REJECT_UNAUTHORIZED=0 is refused', async t => {
  t.same(problems({ env: { NODE_TLS_REJECT_UNAUTHORIZED: '0' } }), [
    'NODE_TLS_REJECT_UNAUTHORIZED: disables the verification of every certificate, including that of STS: unset it',
  ])
})

t.test('a listener that is not on loopback needs TLS or tls: off', async t => {
  const args = { ...upstream, 'listen.host': '0.0.0.0' }
  t.same(problems({ args }), ['tls: required on 0.0.0.0: set certFile and keyFile, or write tls: off'])
  t.equal(loaded({ args: { ...args, tls: 'off' } }).tls, undefined)
  t.equal(loaded({ args, yaml: 'tls: off' }).tls, undefined)
  for (const host of ['127.0.0.1', '127.9.9.9', '::1', 'localhost']) {
    t.equal(loaded({ args: { ...args, 'listen.host': host } }).tls, undefined, host)
  }
  t.same(problems({ args, yaml: 'tls: false' }), ['tls: expected off, got false (from proxy.yaml:1:1)'])
  t.same(problems({ args, yaml: 'tls:\n' }), ['tls: required on 0.0.0.0: set certFile and keyFile, or write tls: off'])
})

t.test('an address that only resembles loopback needs TLS', async t => {
  for (const host of ['::127.0.0.1', '127.1', '127.0.0.999', '::ffff:10.0.0.1', 'localhost.example.com']) {
    const args = { ...upstream, 'listen.host': host }
    t.match(problems({ args }), [/^tls: required on/], host)
  }
})

t.test('an invalid host hides no other problem', async t => {
  const admin = { 'admin.host': 'no host', 'admin.tokenFile': './token' }
  t.match(problems({ args: admin, files: { './token': 'x'.repeat(20) } }), [/^admin\.host: expected an address/])
  const listen = { 'listen.host': 'no host', 'upstream.uri': 'mongodb://a,b/?replicaSet=rs' }
  t.match(problems({ args: listen, compile: withCompiledPolicy }), [/^listen\.host: expected an address/])
})

t.test('the certificate and its key are read and validated', async t => {
  const files = { crt: first.cert, key: first.key, other: second.key, encrypted: encrypted.key, junk: 'junk' }
  const tls = (certFile: string, keyFile: string) =>
    problems({ files, args: { 'tls.certFile': certFile, 'tls.keyFile': keyFile } })
  t.same(tls('junk', 'key'), [
    'tls.certFile: a path of 4 characters (not shown) holds no PEM certificate (from --tls-cert-file)',
  ])
  t.same(tls('crt', 'junk'), [
    'tls.keyFile: a path of 4 characters (not shown) holds no PEM private key without a passphrase (from --tls-key-file)',
  ])
  t.same(tls('crt', 'other'), [
    'tls.keyFile: the key does not belong to the certificate in tls.certFile (from --tls-key-file)',
  ])
  t.same(tls('crt', 'encrypted'), [
    'tls.keyFile: a path of 9 characters (not shown) holds no PEM private key without a passphrase (from --tls-key-file)',
  ])
  t.same(tls('none', './locked'), [
    'tls.certFile: cannot read a path of 4 characters (not shown): there is no such file; write an absolute path (from --tls-cert-file)',
    'tls.keyFile: cannot read a path of 8 characters (not shown): permission denied; write an absolute path (from --tls-key-file)',
  ])
  t.same(problems({ files, args: { 'tls.certFile': 'crt' } }), [
    'tls.certFile: requires tls.keyFile (from --tls-cert-file)',
  ])
  t.same(problems({ files, yaml: 'tls: off', args: { 'tls.keyFile': 'key' } }), [
    'tls: off contradicts tls.keyFile (from proxy.yaml:1:1)',
  ])
})

t.test('every certificate of the client CA file is read, and the file requires a certificate of the proxy', async t => {
  const bundle = `# ours\n${first.cert}\n# and theirs\n${second.cert}`
  const files = { crt: first.cert, key: first.key, ca: bundle, junk: `${first.cert}${first.key}`, empty: '# none\n' }
  const args = { ...upstream, 'tls.certFile': 'crt', 'tls.keyFile': 'key' }
  t.equal(loaded({ files, args: { ...args, 'tls.clientCAFile': 'ca' } }).tls?.clientCA, bundle.trimEnd())
  t.equal(loaded({ files, args }).tls?.clientCA, undefined)
  for (const name of ['junk', 'empty']) {
    t.same(problems({ files, args: { ...args, 'tls.clientCAFile': name } }), [
      `tls.clientCAFile: a path of ${name.length} characters (not shown) holds no PEM certificate, or a block that is not one (from --tls-client-ca-file)`,
    ])
  }
  t.same(problems({ files, env: { MONGO_IAM_PROXY_TLS_CLIENT_CA_FILE: 'ca' } }), [
    'tls.clientCAFile: requires tls.certFile and tls.keyFile (from MONGO_IAM_PROXY_TLS_CLIENT_CA_FILE)',
  ])
  t.same(problems({ files, yaml: 'tls: off', args: { 'tls.clientCAFile': 'ca' } }), [
    'tls: off contradicts tls.clientCAFile (from proxy.yaml:1:1)',
  ])
})

t.test('successes can be cached only if client certificates are verified', async t => {
  const files = { crt: first.cert, key: first.key, ca: first.cert }
  const mutual = { ...upstream, 'tls.certFile': 'crt', 'tls.keyFile': 'key', 'tls.clientCAFile': 'ca' }
  t.equal(loaded({ files, args: { ...mutual, 'sts.successCache': '30s' } }).sts.successCache, 30_000)
  t.equal(loaded({ args: { ...upstream, 'sts.successCache': '0s' } }).sts.successCache, 0)
  t.same(problems({ args: { 'sts.successCache': '1s' } }), [
    'sts.successCache: requires tls.clientCAFile: only a verified client certificate may replace the signature (from --sts-success-cache)',
  ])
  t.same(problems({ files, args: { ...mutual, 'sts.successCache': '61s' } }), [
    'sts.successCache: expected a duration from 0s to 1m, got "61s" (from --sts-success-cache)',
  ])
})

t.test('the advertised address is host:port in lower case and not a wildcard', async t => {
  const advertised = (text: string) => loaded({ args: { ...upstream, 'listen.advertise': text } }).listen.advertise
  t.same(advertised('Mongo.Example.com:27017'), { host: 'mongo.example.com', port: 27017 })
  t.same(advertised('[2001:DB8::1]:1'), { host: '2001:db8::1', port: 1 })
  t.equal(loaded({ args: upstream }).listen.advertise, undefined)
  for (const text of [
    'mongo.example.com',
    'mongo.example.com:0',
    'mongodb://h:1',
    ':1',
    'a:1,b:2',
    '[10.0.0.1]:1',
    '[1:2]:1',
  ]) {
    t.match(problems({ args: { 'listen.advertise': text } }), [/^listen\.advertise: expected host:port, got/], text)
  }
  t.match(problems({ args: { 'listen.advertise': '0.0.0.0:27017' } }), [/by which clients reach the proxy/])
})

t.test('the topology is primary or single, and by default depends on the connection string', async t => {
  t.equal(loaded({ args: upstream }).upstream.topology, undefined)
  t.equal(loaded({ args: { ...upstream, 'upstream.topology': 'single' } }).upstream.topology, 'single')
  t.match(problems({ args: { 'upstream.topology': 'sharded' } }), [/expected primary or single/])
})

t.test('connection strings are never shown', async t => {
  const form = 'expected a URI like mongodb://mongo.example.com:27017/ (not shown)'
  t.same(problemsOf({ args: { 'upstream.uri': 'mysql://u:hunter2@h' } }), [
    `upstream.uri: ${form} (from --upstream-uri)`,
  ])
  t.same(problemsOf({ args: { 'upstream.uri': 'mongodb+srv://a,b' } }), [`upstream.uri: ${form} (from --upstream-uri)`])
  t.same(problems({ yaml: 'upstream:\n  admin:\n    uri: [hunter2]' }), [
    `upstream.admin.uri: ${form} (from proxy.yaml:3:5)`,
  ])
  t.same(problemsOf({ args: { 'upstream.uriFile': 'uri' }, files: { uri: 'hunter2' } }), [
    `upstream.uriFile: in a path of 3 characters (not shown): ${form} (from --upstream-uri-file)`,
  ])
  t.same(problemsOf({ args: { 'upstream.uriFile': 'mongodb://u:hunter2@h' } }), [
    'upstream.uriFile: expected the path of a file, got something else (not shown) (from --upstream-uri-file)',
  ])
  t.same(problems({ env: { MONGO_IAM_PROXY_UPSTREAM_URI_FILE: 'uri' }, files: { uri: 'mongodb://h' } }), [
    'upstream.uri: excludes upstream.uriFile: set one of them (from --upstream-uri)',
  ])
})

t.test('a user has one password, from a file or from a variable', async t => {
  const users = (...entries: string[]) =>
    `users:\n${entries.map(entry => `  - { arn: a, user: u, ${entry} }\n`).join('')}`
  t.same(
    problems({
      yaml: users('passwordFile: /run/none', 'passwordFile: empty', 'passwordFile: ./binary'),
      files: { empty: '\n', './binary': Buffer.of(0xff) },
    }),
    [
      'users[0].passwordFile: cannot read /run/none: there is no such file (from proxy.yaml:2:24)',
      'users[1].passwordFile: a path of 5 characters (not shown) is empty (from proxy.yaml:3:24)',
      'users[2].passwordFile: cannot read a path of 8 characters (not shown): it is not UTF-8 text; write an absolute path (from proxy.yaml:4:24)',
    ],
  )
  t.same(problems({ yaml: users('passwordEnv: NONE', 'passwordEnv: EMPTY'), env: { EMPTY: '' } }), [
    'users[0].passwordEnv: the variable is not set (from proxy.yaml:2:24)',
    'users[1].passwordEnv: the variable is empty (from proxy.yaml:3:24)',
  ])
  t.same(
    problems({
      yaml: users('passwordEnv: hunter2', 'password: hunter2', 'passwordfile: f', 'passwordEnv: A, passwordFile: b'),
    }),
    [
      'users[0].passwordEnv: expected the name of a variable in capitals, like ORDERS_PASSWORD (not shown) (from proxy.yaml:2:24)',
      'users[1].password: passwords are not allowed in this file; use passwordFile or passwordEnv (from proxy.yaml:3:24)',
      'users[1]: needs either passwordFile or passwordEnv (from proxy.yaml:3:5)',
      'users[2]: there is no such setting, a text of 12 characters; did you mean passwordFile? (from proxy.yaml:4:24)',
      'users[2]: needs either passwordFile or passwordEnv (from proxy.yaml:4:5)',
      'users[3]: needs either passwordFile or passwordEnv (from proxy.yaml:5:5)',
    ],
  )
  t.same(problems({ yaml: 'users:\n  - alice\n  - { user: "" , passwordEnv: A }' }), [
    'users[0]: expected a mapping of arn, user and passwordFile, got a text of 5 characters (from proxy.yaml:2:5)',
    'users[1].user: expected the name of a database user, got an empty text (from proxy.yaml:3:7)',
  ])
  t.same(problems({ env: { MONGO_IAM_PROXY_USERS: '[]' } }), [
    'users: is a list, which must be in the file (from MONGO_IAM_PROXY_USERS)',
  ])
})

t.test('a rule has one principal, gives a user or roles, and its conditions are well-formed', async t => {
  const arn = 'arn: a, roles: [read@app]'
  for (const [entry, problem] of [
    ['roles: [read@app]', /needs either arn or sso/],
    [`${arn}, sso: { permissionSet: p, account: "123456789012" }`, /needs either arn or sso/],
    ['sso: { permissionSet: p }, roles: [a@b]', /sso.account: expected an account of 12 digits, got nothing/],
    ['sso: { permissionSet: p, account: 012345678901 }, roles: [a@b]', /sso.account: is a number in YAML/],
    [`${arn}, user: u, passwordEnv: A`, /needs either user \(with its password\) or roles/],
    [`${arn}, passwordEnv: A`, /for which the proxy generates the password/],
    ['arn: a, roles: []', /roles: expected a list of roles like readWrite@app/],
    ['arn: a, roles: readWrite@app', /roles: expected a list of roles/],
    [`${arn}, clientSource: 10.0.0.0/8`, /clientSource: expected a list of networks/],
    [`${arn}, deleteAfterDate: 2026-02-30`, /deleteAfterDate: is a time that does not exist/],
    [`${arn}, deleteAfterDate: 2026-02-28T10:00:00`, /deleteAfterDate: expected a time like .* with Z or an offset/],
    [`${arn}, deleteAfterDate: tomorrow`, /deleteAfterDate: expected a time/],
    [`${arn}, scopes: [a b]`, /scopes\[0\]: expected the name of a scope/],
    [`${arn}, maxAge: 1d`, /maxAge: expected a duration like 30m or 12h/],
    [`${arn}, maxage: 1h`, /there is no such setting, a text of 6 characters; did you mean maxAge\?/],
  ] as const) {
    t.match(problems({ yaml: `users:\n  - { ${entry} }`, env: { A: 'x' } }), [problem], entry)
  }
})

t.test('a date is a time with an offset, or the beginning of a day in UTC', async t => {
  for (const [text, time] of [
    ['2026-12-24', '2026-12-24T00:00:00.000Z'],
    ['2026-12-24T18:00:00+02:00', '2026-12-24T16:00:00.000Z'],
    ['2026-12-24 18:00:00Z', '2026-12-24T18:00:00.000Z'],
    ['"2026-12-24T18:00Z"', '2026-12-24T18:00:00.000Z'],
  ] as const) {
    const yaml = `users: [{ arn: a, roles: [read@app], deleteAfterDate: ${text} }]`
    t.equal(loaded({ yaml, args: upstream }).users[0]?.deleteAfterDate?.toISOString(), time, text)
  }
})

t.test('an account id without quotes is reported, because YAML drops its leading zero', async t => {
  t.same(problems({ yaml: 'users:\n- arn: 012345678901\n  user: u\n  passwordEnv: A' }), [
    'users[0].arn: is a number in YAML, which drops leading zeros: write it in quotes (from proxy.yaml:2:3)',
  ])
})

t.test('a secret that every user can read causes a warning', async t => {
  const yaml = 'users: [{ arn: a, user: u, passwordFile: pass.open }]'
  t.same(loaded({ yaml, args: upstream, files: { 'pass.open': 'x' } }).warnings, [
    'users[0].passwordFile: every user of this machine can read a path of 9 characters (not shown)',
  ])
})

t.test('variables that Kubernetes sets for a Service are ignored', async t => {
  const env = {
    MONGO_IAM_PROXY_SERVICE_HOST: '10.0.0.1',
    MONGO_IAM_PROXY_SERVICE_PORT_MONGODB: '27017',
    MONGO_IAM_PROXY_PORT: 'tcp://10.0.0.1:27017',
    MONGO_IAM_PROXY_PORT_27017_TCP_ADDR: '10.0.0.1',
    MONGO_IAM_PROXY_ADMIN_PORT: 'tcp://10.0.0.1:9216',
  }
  t.equal(loaded({ env, args: upstream }).admin.port, 9216)
})

t.test('an unknown variable gets a suggestion', async t => {
  t.same(problems({ env: { MONGO_IAM_PROXY_LISTEN_PROT: '1', MONGO_IAM_PROXY_ZZZ: '1' } }), [
    'MONGO_IAM_PROXY_…: there is no such setting, a variable of 27 characters; did you mean MONGO_IAM_PROXY_LISTEN_PORT?',
    'MONGO_IAM_PROXY_…: there is no such setting, a variable of 19 characters',
  ])
})

t.test('a YAML error is reported with its line and without the text of the file', async t => {
  t.match(problemsOf({ yaml: 'listen:\n  port: 1\n  port: 2\n' }), [
    /^not YAML: a key is given twice \(from proxy.yaml:3:3\)$/,
  ])
  t.match(problemsOf({ yaml: 'a: b\n]hunter2: "x' }), [/^not YAML: .*\(from proxy.yaml:2:1\)$/])
  t.notMatch(`${problemsOf({ yaml: 'a: b\n]hunter2: "x' })}`, /hunter2/)
  t.same(problemsOf({ yaml: '- a' }), ['expected a mapping of settings (from proxy.yaml:1:1)'])
  t.same(
    faultOf(() =>
      loadConfig({
        file: 'none',
        args: {},
        env: {},
        readFile: () => {
          throw Object.assign(new Error(), { code: 'ENOENT' })
        },
      }),
    )?.facts.problems,
    ['cannot read the configuration: there is no such file (from --config, a path of 4 characters (not shown))'],
  )
})

t.test('no part of a broken file is repeated', async t => {
  for (const yaml of [
    'upstream: { uri: mongodb://a:hunter2@c } extra hunter2',
    'upstream: { uri: @hunter2 }',
    'upstream:\n  uri: "mongodb://u:hunter2\\q"',
    'upstream:\n\turi: hunter2',
    'a: b: hunter2',
    'a: "hunter2',
  ]) {
    const [first] = [problemsOf({ yaml })].flat()
    t.match(first, /^not YAML: .* \(from proxy.yaml:\d:\d+\)$/, yaml)
    t.notMatch(first, /hunter2/, yaml)
  }
})

t.test('aliases are resolved, and one without an anchor is a problem', async t => {
  t.equal(loaded({ yaml: 'login: { queueTimeout: &t 5s }\nldap: { every: *t }', args: upstream }).ldap.every, 5000)
  t.same(problems({ yaml: 'listen: *nope\nusers: *nope' }), [
    'listen: expected a mapping of host, port, advertise, scope, backlog, connections, reserve, perPrincipal, perAddress, reauthenticate (from proxy.yaml:1:1)',
    'users: contains an alias that cannot be resolved (from proxy.yaml:2:1)',
  ])
})

t.test('a group must be a mapping and may be empty', async t => {
  t.same(problems({ yaml: 'listen: 27017\nadmin:\n' }), [
    'listen: expected a mapping of host, port, advertise, scope, backlog, connections, reserve, perPrincipal, perAddress, reauthenticate (from proxy.yaml:1:1)',
  ])
  t.same(problems({ yaml: 'tls: { self: off }\n__proto__: { x: 1 }\nsts: { quota: }' }), [
    'tls: there is no such setting, a text of 4 characters (from proxy.yaml:1:8)',
    'there is no such setting, a text of 9 characters (from proxy.yaml:2:1)',
    'sts.quota: expected a whole number from 1 to 1000000, got nothing (from proxy.yaml:3:8)',
  ])
  t.equal(loaded({ yaml: '', args: upstream }).listen.port, 27017)
})

t.test('master secrets are lines of at least 32 bytes in a file and are never shown', async t => {
  const secret = (n: number) => `hunter2-${'x'.repeat(24)}${n}`
  const args = { ...upstream, 'provision.secretFile': 'secret' }
  const { provision } = loaded({ args, files: { secret: `${secret(1)}\n\n${secret(2)}\r\n` } })
  t.same(
    provision.secrets.map(secret => secret.reveal()),
    [secret(1), secret(2)],
  )
  t.match(provision, { database: 'mongo_iam_proxy', fleet: 'default', period: 86_400_000, clientSource: undefined })
  t.same(loaded({ args: upstream }).provision.secrets, [])
  for (const [text, problem] of [
    [
      'hunter2-too-short\n',
      'in a path of 6 characters (not shown): secret 1 is shorter than 32 bytes: create one with openssl rand -base64 32',
    ],
    [
      `${secret(1)}\nhunter2\n`,
      'in a path of 6 characters (not shown): secret 2 is shorter than 32 bytes: create one with openssl rand -base64 32',
    ],
    [`${secret(1)}\n${secret(1)}\n`, 'in a path of 6 characters (not shown): secret 2 is listed twice'],
    ['', 'a path of 6 characters (not shown) is empty'],
  ] as const) {
    const [first] = [problems({ args, files: { secret: text } })].flat()
    t.match(first, problem)
    t.notMatch(first, /hunter2/)
  }
  const open = { ...upstream, 'provision.secretFile': 'secret.open' }
  t.match(
    loaded({ args: open, files: { 'secret.open': secret(1) } }).warnings[1],
    /every user .* a path of 11 characters/,
  )
})

t.test('the database, fleet and networks of provisioned users are validated', async t => {
  const { provision } = loaded({
    args: { ...upstream, 'provision.clientSource': '10.0.0.0/8, ::1', 'provision.period': '1h' },
  })
  t.match(provision, { clientSource: ['10.0.0.0/8', '::1'], period: 3_600_000 })
  for (const database of ['admin', 'local', 'config', '$external', 'a.b', 'a/b']) {
    t.match(problems({ args: { 'provision.database': database } }), [/^provision\.database: expected /], database)
  }
  t.match(problems({ args: { 'provision.fleet': 'a/b' } }), [/^provision\.fleet: expected a name of letters/])
})

t.test('the token of the admin interface must be long and is never shown', async t => {
  const args = { ...upstream, 'admin.tokenFile': 'token' }
  const { admin } = loaded({ args, files: { token: 'hunter2-hunter2-hunter2\n' } })
  t.equal(admin.token?.reveal(), 'hunter2-hunter2-hunter2')
  t.equal(loaded({ args: upstream }).admin.token, undefined)
  for (const token of [
    'hunter2',
    'hunter2 hunter2 hunter2',
    'hunter2-hunter2-hunter2\nhunter2',
    'hunter2'.repeat(100),
  ]) {
    const text = `${problems({ args, files: { token } })}`
    t.match(
      text,
      'admin.tokenFile: in a path of 5 characters (not shown): expected one line of 20 to 512 printable characters',
    )
    t.notMatch(text, /hunter2/)
  }
})

t.test('the tokens of the admin interface have distinct names and values, which are never shown', async t => {
  const files = { ops: 'hunter2-hunter2-hunter2\n', grafana: 'hunter3-hunter3-hunter3\n', short: 'hunter2' }
  const listed = (tokens: string, args = {}) => ({ yaml: `admin: { tokens: [${tokens}] }`, files, args })
  const { admin } = loaded({
    ...listed('{ name: ops, file: ops, may: write }, { name: grafana, file: grafana, may: read }'),
    args: upstream,
  })
  t.same(
    admin.tokens.map(({ name, may, token }) => [name, may, token.reveal()]),
    [
      ['ops', 'write', 'hunter2-hunter2-hunter2'],
      ['grafana', 'read', 'hunter3-hunter3-hunter3'],
    ],
  )
  t.same(loaded({ args: upstream }).admin.tokens, [])
  const other = '{ name: grafana, file: grafana, may: read }'
  for (const [tokens, expected] of [
    [`{ name: ops, file: short, may: write }, ${other}`, /^admin\.tokens\[0\]\.file: in .*expected one line of 20/],
    [`${other}, { name: ops, file: nowhere, may: read }`, /^admin\.tokens\[1\]\.file: cannot read .*yaml:1:/],
    [`${other}, { name: ops, file: grafana, may: read }`, /^admin\.tokens\[1\]\.file: another name has the same token/],
    [`${other}, { name: grafana, file: ops, may: read }`, /^admin\.tokens: entry 2 has the name of entry 1/],
    [`${other}, { name: ops, file: ops, may: delete }`, /^admin\.tokens\[1\]\.may: expected read or write/],
    [`${other}, { name: "hunter2 hunter2", file: ops, may: read }`, /^admin\.tokens\[1\]\.name: expected a name/],
    [`${other}, hunter2`, /^admin\.tokens\[1\]: expected a mapping of name, file and may/],
  ] as const) {
    const [first, ...more] = problems(listed(tokens)) as string[]
    t.match(first, expected)
    t.same(more, [], tokens)
    t.notMatch(first, /hunter2/)
  }
  t.match(problems(listed('{ name: default, file: ops, may: read }', { 'admin.tokenFile': 'grafana' })), [
    /^admin\.tokens\[0\]\.name: default is the name of admin\.tokenFile/,
  ])
})

t.test('a token that would cross the network in plain text causes a warning', async t => {
  const files = { token: 'hunter2-hunter2-hunter2\n' }
  const args = { ...upstream, 'admin.tokenFile': 'token' }
  const warningsOf = (more: Record<string, string>) => loaded({ args: { ...args, ...more }, files }).warnings.slice(1)
  t.same(warningsOf({}), [])
  t.same(warningsOf({ 'admin.host': '::1' }), [])
  t.same(warningsOf({ 'admin.host': '0.0.0.0', 'admin.port': 'off' }), [
    'admin.host: has no effect, because admin.port is off',
    'admin.tokenFile: has no effect, because admin.port is off',
  ])
  t.match(warningsOf({ 'admin.host': '0.0.0.0' }), [/^admin\.tokenFile: admin\.host is not loopback.* plain text/])
  const yaml = 'admin: { host: 0.0.0.0, tokens: [{ name: ops, file: token, may: write }] }'
  t.match(loaded({ yaml, args: upstream, files }).warnings[1], /^admin\.tokens: admin\.host is not loopback/)
})

t.test('host names of the admin interface have no port and are compared in lower case', async t => {
  t.same(loaded({ args: { ...upstream, 'admin.hosts': 'Proxy.Internal, 10.0.0.7' } }).admin.hosts, [
    'proxy.internal',
    '10.0.0.7',
  ])
  t.match(problems({ args: { 'admin.hosts': 'http://proxy' } }), [/^admin\.hosts.*expected a name or an address/])
})

t.test('the deny list is loaded with its path and its text', async t => {
  const args = { ...upstream, 'deny.file': 'deny.yaml' }
  t.match(loaded({ args, files: { 'deny.yaml': '[]\n...\n' } }).deny, { file: 'deny.yaml', text: '[]\n...' })
  t.match(problems({ args }), [/^deny\.file: cannot read a path of 9 characters \(not shown\): there is no such file/])
  t.match(problems({ args, files: { 'deny.yaml': '' } }), [
    /^deny\.file: a path of 9 characters \(not shown\) is empty/,
  ])
})

t.test('an invalid rule does not hide later rules, and each keeps its number', async t => {
  const yaml = [
    "upstream: { uri: 'mongodb://127.0.0.1:1/' }",
    'users:',
    '  - { arn: "*", roles: [read@app] }',
    '  - { arn: "*", roles: read@app }',
    '  - { arn: "*", user: x, passwordFile: nowhere }',
    '  - nothing',
    '  - { arn: "*", roles: [read@app], maxAge: 1h }',
  ].join('\n')
  const env = { MONGO_IAM_PROXY_OF_SOME_USER: 'x' }
  const compile: Compile<undefined> = ({ users }, origins) => ({
    compiled: undefined,
    problems: users.map(({ roles }, at) => `${roles ?? 'user'}: ${origins[at]?.rule} ${origins[at]?.from}`),
  })
  t.match(problemsOf({ yaml, env, compile }), [
    /^users\[1\]\.roles: .*\(from proxy\.yaml:4:17\)/,
    /^users\[3\]: expected a mapping.*\(from proxy\.yaml:6:5\)/,
    /^users\[2\]\.passwordFile: cannot read.*\(from proxy\.yaml:5:26\)/,
    'read@app: 1 proxy.yaml:3:5',
    'user: 3 proxy.yaml:5:5',
    'read@app: 5 proxy.yaml:7:5',
  ])
})

t.test('a secret that was written where its file belongs is not shown', async t => {
  const slipped = 'correct-horse-battery'
  const yaml = `users:\n  - { arn: a, user: u, passwordFile: ${slipped} }\n`
  for (const given of [
    { yaml },
    ...['tls.keyFile', 'upstream.admin.uriFile', 'admin.tokenFile', 'provision.secretFile'].map(path => ({
      args: { [path]: slipped, ...(path === 'tls.keyFile' && { 'tls.certFile': 'crt' }) },
      files: { crt: first.cert },
    })),
  ]) {
    const fault = faultOf(() => loaded({ ...given, args: { ...upstream, ...('args' in given && given.args) } }))
    t.match(fault?.facts.problems, [
      /: cannot read a path of 21 characters \(not shown\): .*; write an absolute path \(from /,
    ])
    t.notMatch(JSON.stringify([fault?.message, fault?.detail, fault?.facts]), slipped)
  }
})

t.test('the deny file is read whatever else is wrong', async t => {
  const given = { args: { 'deny.file': 'deny.yaml', 'tls.certFile': 'none' }, files: { 'deny.yaml': '[]\n...\n' } }
  t.match(faultOf(() => loaded(given))?.data('config/invalid')?.deny, { file: 'deny.yaml', text: '[]\n...' })
})

t.test('a configuration file that cannot be parsed keeps the known deny file', async t => {
  const files = { 'deny.yaml': '[]\n...\n', 'other.yaml': '- AKIAIOSFODNN7EXAMPLE\n...\n' }
  for (const yaml of ['users: [', 'just a text']) {
    const given = { yaml, files, running: { denyFile: 'deny.yaml', hasEndMark: false } }
    t.match(faultOf(() => loaded(given))?.data('config/invalid')?.deny, { file: 'deny.yaml', text: '[]\n...' })
    const flagged = { ...given, args: { 'deny.file': 'other.yaml' } }
    t.match(
      faultOf(() => loaded(flagged))?.data('config/invalid')?.deny,
      { file: 'other.yaml' },
      'a flag still applies',
    )
  }
  const readable = { yaml: 'nothing: 1', files, running: { denyFile: 'deny.yaml', hasEndMark: false } }
  t.match(
    faultOf(() => loaded(readable))?.data('config/invalid')?.deny,
    { file: undefined },
    'here it says that there is none',
  )
})

t.test(
  'a blank that is missing after a colon is reported with the name before it, and nothing after it is shown',
  async t => {
    const uri = 'mongodb://root:hunter2@m/'
    const missing = 'a blank is missing after the colon'
    for (const [yaml, message] of [
      [`upstream: { admin: { uri:${uri} } }`, `upstream.admin.uri: ${missing} (from proxy.yaml:1:22)`],
      [`admin: { uri:${uri} }`, `admin: there is no such setting; ${missing} of uri (from proxy.yaml:1:10)`],
      [
        'log: { levl:hunter2 }',
        'log: there is no such setting, a text of 12 characters; did you mean level? (from proxy.yaml:1:8)',
      ],
      ['listen: { port:27017 }', `listen.port: ${missing} (from proxy.yaml:1:11)`],
      [
        'listen:\n  port:27017',
        `listen: expected a mapping of ${'host, port, advertise, scope, backlog, connections, reserve, perPrincipal, perAddress, reauthenticate'}; ${missing} of port (from proxy.yaml:1:1)`,
      ],
      ['listen:hunter2', `expected a mapping of settings; ${missing} of listen (from proxy.yaml:1:1)`],
      [
        'log: { level: info }\nlisten:hunter2',
        /^not YAML: .*; a blank is missing after the colon of listen \(from proxy/,
      ],
      ['users:\n- user: x\n  password:hunter2', /^not YAML: .*; a blank is missing after the colon of password \(from/],
      ['users:\n- { user:hunter2 }', `users[0].user: ${missing} (from proxy.yaml:2:5)`],
      ['users:\n- { password:hunter2 }', /^users\[0\]\.password: passwords are not allowed .*\(from proxy.yaml:2:5\)$/],
      ['password:hunter2', `expected a mapping of settings; ${missing} of password (from proxy.yaml:1:1)`],
      [
        'users:\n- user:hunter2',
        /^users\[0\]: .*; a blank is missing after the colon of user \(from proxy.yaml:2:3\)$/,
      ],
      [
        'users: ["arn:arn:aws:iam::123456789012:user/hunter2"]',
        /^users\[0\]: .*; a blank is missing after the colon of arn \(from proxy.yaml:1:9\)$/,
      ],
      [
        'users: ["arn:aws:iam::123456789012:user/a"]',
        /^users\[0\]: .*got a text of \d+ characters \(from proxy.yaml:1:9\)$/,
      ],
      [
        'sts: { hosts: ["host:sts.amazonaws.com"] }',
        /^sts.hosts\[0\]: .*; a blank is missing after the colon of host \(/,
      ],
      ['password: hunter2', /^password: passwords are not allowed/],
      [
        'sts: { hosts: [{ host: my-sts, connect:hunter2 }] }',
        `sts.hosts[0].connect: ${missing} (from proxy.yaml:1:32)`,
      ],
    ] as const) {
      const [first = ''] = [problems({ yaml })].flat() as string[]
      if (typeof message === 'string') t.equal(first, message, yaml)
      else t.match(first, message, yaml)
      t.notMatch(`${problems({ yaml })}`, /hunter2/, yaml)
    }
  },
)

t.test('a connection string in the place of another value is not shown', async t => {
  const uri = 'mongodb://root:hunter2@m/'
  for (const yaml of [
    `listen: { host: '${uri}' }`,
    `listen: { host: 'root:hunter2' }`,
    `listen: { advertise: '${uri}' }`,
    `admin: { hosts: ['${uri}', 'root:hunter2'] }`,
    `sts: { hosts: ['${uri}'] }`,
    `log: { level: '${uri}' }`,
    `tls: { certFile: '${uri}', keyFile: 'root:hunter2@m' }`,
    `provision: { database: '${uri}', fleet: '${uri}', clientSource: ['${uri}'] }`,
    `users: [{ arn: '${uri}', user: '${uri}', passwordEnv: '${uri}' }]`,
    `users: [{ arn: '${uri}', roles: ['${uri}'], scopes: ['${uri}'], principalId: '${uri}', maxAge: '${uri}' }]`,
    `'${uri}': 1`,
    `? { '${uri}': 1 }\n: 2`,
    `!<${uri}> x`,
    `%hunter2 x\n---\nlisten: {}`,
    `listen: *hunter2`,
    `listen: !hunter2 x`,
  ]) {
    const found = problems({ yaml, compile: withCompiledPolicy })
    t.ok(Array.isArray(found) && found.length > 0, yaml)
    t.notMatch(`${found}`, /hunter2/, yaml)
  }
})

t.test(
  'a file without its end mark is refused where the running configuration had one, or a flag requires it',
  async t => {
    const files = { 'deny.yaml': '[]\n...\n' }
    const whole = 'deny: { file: deny.yaml }\nlog: { level: warn }\n...\n'
    const running = { denyFile: 'deny.yaml', hasEndMark: true }
    for (const yaml of [whole, whole.trimEnd(), whole.replaceAll('\n', '\r\n'), `${whole}\n# end\n`]) {
      for (const given of [{ running }, { requireEndMark: true }, {}]) {
        t.equal(loaded({ yaml, files, args: upstream, ...given }).log.level, 'warn')
      }
    }
    for (const cut of ['log: { level: warn }\n', whole.slice(0, -3), 'listen: { port: 1 }', 'log: {', '']) {
      const given = { yaml: cut, files, args: upstream }
      t.match(
        `${problemsOf({ ...given, running })}`,
        /add that line, or restart the proxy to do without it \(from proxy\.yaml\)/,
        cut,
      )
      t.match(
        `${problemsOf({ ...given, requireEndMark: true })}`,
        /may have been cut.*--require-end-mark requires/,
        cut,
      )
      const fault = faultOf(() => loaded({ ...given, running }))
      t.match(
        fault?.data('config/invalid')?.deny,
        { file: 'deny.yaml', text: '[]\n...' },
        'the deny file is still read',
      )
    }
    t.equal(
      loaded({ yaml: 'log: { level: warn }', args: upstream, running: { denyFile: undefined, hasEndMark: false } }).log
        .level,
      'warn',
    )
    t.equal(loaded({ args: upstream, requireEndMark: true }).log.level, 'info', 'there is no file')
  },
)

t.test('the connections are divided into a reserve and session slots', async t => {
  const divide = (listen: object) =>
    divideConnections(loaded({ args: upstream, yaml: JSON.stringify({ listen }) }).listen)
  t.same(divide({}), { connections: 20_000, reserve: 5_000, sessions: 15_000, perPrincipal: 7_500 })
  t.same(divide({ connections: 60 }), { connections: 60, reserve: 15, sessions: 45, perPrincipal: 22 })
  t.same(divide({ connections: 60, reserve: 20 }), { connections: 60, reserve: 20, sessions: 40, perPrincipal: 20 })
  t.same(divide({ connections: 60, perPrincipal: 45 }), {
    connections: 60,
    reserve: 15,
    sessions: 45,
    perPrincipal: 45,
  })
  t.same(divide({ connections: 2 }), { connections: 2, reserve: 1, sessions: 1, perPrincipal: 1 })
})

t.test('limits of sessions that contradict each other are problems', async t => {
  const whole = 'expected a whole number from 1 to 1000000'
  const slots = (sessions: number, reserve: number) =>
    `more than the ${sessions} session slots, which are listen.connections (60) less listen.reserve (${reserve})`
  const rule = (maxSessions: unknown) => ({
    arn: 'arn:aws:iam::123456789012:user/a',
    roles: ['read@app'],
    maxSessions,
  })
  for (const [settings, expected] of [
    [
      { listen: { connections: 60, reserve: 60 } },
      ['listen.reserve: 60 leaves no session slot of listen.connections, which is 60: set less'],
    ],
    [
      { listen: { connections: 60, reserve: 1_000 } },
      ['listen.reserve: 1000 leaves no session slot of listen.connections, which is 60: set less'],
    ],
    [{ listen: { connections: 60, perPrincipal: 46 } }, [`listen.perPrincipal: 46 is ${slots(45, 15)}`]],
    [{ listen: { connections: 60, reserve: 50, perPrincipal: 20 } }, [`listen.perPrincipal: 20 is ${slots(10, 50)}`]],
    [{ listen: { connections: 60 }, users: [rule(45), rule(46)] }, [`users[1].maxSessions: 46 is ${slots(45, 15)}`]],
    [
      { listen: { reserve: 0, perPrincipal: 0 } },
      [`listen.reserve: ${whole}, got 0`, `listen.perPrincipal: ${whole}, got 0`],
    ],
    [
      { listen: { reserve: 0.25, perPrincipal: -1 } },
      [`listen.reserve: ${whole}, got 0.25`, `listen.perPrincipal: ${whole}, got -1`],
    ],
    [
      { users: [rule(0), rule(1.5), rule('many')] },
      [0, 1, 2].map(index => `users[${index}].maxSessions: ${whole}, got ${[0, 1.5, 'a text of 4 characters'][index]}`),
    ],
  ] as const) {
    const found = problems({ yaml: JSON.stringify(settings) }) as string[]
    t.same(
      found.map(problem => problem.replace(/ \(from [^)]*\)$/, '')),
      expected,
    )
  }
})
