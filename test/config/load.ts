import { readFileSync } from 'node:fs'
import t from 'tap'
import { type ConfigSources, loadConfig } from '../../src/config/load.js'
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
}

/** Files are a mapping here; a name that ends in `.open` may be read by everybody. */
function loaded({ yaml, files = {}, args = {}, env = {}, further, denyFile }: Given) {
  const all: Record<string, string | Buffer> = { ...files, ...(yaml !== undefined && { [FILE]: yaml }) }
  return loadConfig({
    file: yaml === undefined ? undefined : FILE,
    args,
    env,
    ...(further && { further }),
    denyFile,
    readFile: path => {
      const text = all[path]
      if (text === undefined) throw Object.assign(new Error('no'), { code: path === './locked' ? 'EACCES' : 'ENOENT' })
      return { bytes: Buffer.from(text), mode: path.endsWith('.open') ? 0o100644 : 0o100600 }
    },
  })
}
const problemsOf = (given: Given): unknown => faultOf(() => loaded(given))?.facts.problems
const upstream = { 'upstream.uri': 'mongodb://127.0.0.1:27018/' }
/** The problems where nothing else is missing. */
const problems = (given: Given) => problemsOf({ ...given, args: { ...upstream, ...given.args } })

t.test('nothing but an upstream is needed', async t => {
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
      remember: 0,
    },
    login: { timeout: 8000, perAddress: 1000, failures: 10, failurePeriod: 60_000, shadow: false },
    ldap: { assume: undefined, every: 60_000 },
    drain: { delay: 15_000, timeout: 30_000 },
    admin: { host: '127.0.0.1', port: 9216 },
    log: { level: 'info' },
    users: [],
    warnings: ['users: there are none, so nobody can log in'],
  })
  t.equal(config.upstream.uri.reveal(), 'mongodb://127.0.0.1:27018/')
  t.equal(config.upstream.admin, undefined)
  t.same(problemsOf({}), ['upstream.uri: required: give it or upstream.uriFile'])
})

t.test('a whole file', async t => {
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

t.test('flag over variable over file over default', async t => {
  const yaml = 'sts: { quota: 100 }\nlogin: { timeout: 3s }\nlisten: { port: 1 }'
  const env = { MONGO_IAM_PROXY_STS_QUOTA: '200', MONGO_IAM_PROXY_LOGIN_TIMEOUT: '4s' }
  const config = loaded({ yaml, env, args: { ...upstream, 'sts.quota': '300' } })
  t.equal(config.sts.quota, 300)
  t.equal(config.login.timeout, 4000)
  t.equal(config.listen.port, 1)
  t.equal(config.ldap.every, 60_000)
})

t.test('every problem at once, each with its source', async t => {
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
    'listen.prot: there is no such setting; did you mean port? (from proxy.yaml:2)',
    'listen.backlog: wanted a whole number from 1 to 65535, got "many" (from proxy.yaml:3)',
    'sts.quota: is empty: give it a value, or leave it out (from MONGO_IAM_PROXY_STS_QUOTA)',
    'login.timeout: wanted a time like 500ms, 5s or 2m, got "5 seconds" (from MONGO_IAM_PROXY_LOGIN_TIMEOUT)',
    'drain.delay: wanted a time from 0s to 1h, got "90m" (from --drain-delay)',
    'log.level: wanted debug, info, warn or error, got "loud" (from proxy.yaml:4)',
    'users[0].arn: is a number to YAML, which drops leading zeros: write it in quotes (from proxy.yaml:5)',
    'users[0]: needs either passwordFile or passwordEnv (from proxy.yaml:5)',
    'upstream.uri: required: give it or upstream.uriFile',
  ]
  t.same(fault?.facts.problems, expected)
  t.equal(fault?.detail, expected.join('\n'))
})

t.test('each bad value has a message of its own', async t => {
  for (const [path, value, message] of [
    ['listen.host', 'http://x', 'wanted an address like 127.0.0.1 or ::1, or a host name, got "http://x"'],
    ['listen.port', '65536', 'wanted a whole number from 0 to 65535, got 65536'],
    ['listen.port', '-1', 'wanted a whole number from 0 to 65535, got "-1"'],
    ['listen.port', '1e3', 'wanted a whole number from 0 to 65535, got "1e3"'],
    ['listen.connections', '1', 'wanted a whole number from 2 to 1000000, got 1'],
    ['sts.share', '0', 'wanted a number from 0.01 to 1, got 0'],
    ['sts.share', '90%', 'wanted a number from 0.01 to 1, got "90%"'],
    ['sts.insecure', 'yes', 'wanted true or false, got "yes"'],
    ['login.timeout', '8', 'wanted a time like 500ms, 5s or 2m, got "8"'],
    ['login.timeout', '2m', 'wanted a time from 100ms to 1m, got "2m"'],
    ['ldap.assume', 'on', 'wanted off, got "on"'],
    ['admin.port', 'no', 'wanted a whole number from 0 to 65535, or off, got "no"'],
    ['tls', 'on', 'wanted off, got "on"'],
    ['sts.hosts', ',', 'wanted a lower-case host name without scheme, port or path, got ""'],
  ] as const) {
    const flag = `--${path.replace('.', '-')}`
    t.same([problems({ args: { [path]: value } })].flat()[0], `${path}: ${message} (from ${flag})`)
  }
})

t.test('STS hosts must be names that every driver signs for', async t => {
  const wanted = 'wanted a lower-case host name without scheme, port or path'
  for (const [host, message] of [
    ['https://sts.amazonaws.com', `${wanted}, got "https://sts.amazonaws.com"`],
    ['STS.amazonaws.com', `${wanted}, got "STS.amazonaws.com"`],
    ['localhost:8443', `${wanted}, got "localhost:8443"`],
    ['a..b', `${wanted}, got "a..b"`],
    ['.amazonaws.com', `${wanted}, got ".amazonaws.com"`],
    ['sts.ämazon.com', `${wanted}, got "sts.ämazon.com"`],
    [
      'sts.amazonaws.com.cn',
      'clients cannot sign for sts.amazonaws.com.cn: offer sts.amazonaws.com or one like sts.eu-west-1.amazonaws.com',
    ],
    [
      'vpce-1.sts.us-east-1.vpce.amazonaws.com',
      'clients cannot sign for the name of a VPC endpoint: offer the regional host and put this one into connect',
    ],
  ]) {
    t.same(problems({ args: { 'sts.hosts': `${host}` } }), [`sts.hosts: ${message} (from --sts-hosts)`])
  }
  t.same(problems({ args: { 'sts.hosts': `${'a'.repeat(256)}` } }), [
    `sts.hosts: ${wanted}, got "${'a'.repeat(79)}…" (from --sts-hosts)`,
  ])
  t.same(problems({ args: { 'sts.hosts': 'sts.amazonaws.com,sts.cn-north-1.amazonaws.com.cn' } }), [
    'sts.hosts: hosts of several partitions: aws, aws-cn (from --sts-hosts)',
  ])
  t.same(problems({ args: { 'sts.hosts': 'my-sts, my-sts' } }), ['sts.hosts: my-sts stands twice (from --sts-hosts)'])
  t.same(
    problems({ yaml: 'sts:\n  hosts:\n  - my-sts\n  - { host: B, connect: c }\n  - {}\n  - 5\n  - { hots: d }' }),
    [
      `sts.hosts[1].host: ${wanted}, got "B" (from proxy.yaml:4)`,
      'sts.hosts[1].connect: wanted host:port, got "c" (from proxy.yaml:4)',
      `sts.hosts[2].host: ${wanted}, got nothing (from proxy.yaml:5)`,
      'sts.hosts[3]: wanted a host, or a mapping of host and connect, got 5 (from proxy.yaml:6)',
      `sts.hosts[4].host: ${wanted}, got nothing (from proxy.yaml:7)`,
      'sts.hosts[4].hots: there is no such setting; did you mean host? (from proxy.yaml:7)',
    ],
  )
  t.same(problems({ yaml: 'sts: { hosts: [] }' }), [
    'sts.hosts: wanted at least one host, got an empty list (from proxy.yaml:1)',
  ])
})

t.test('plain http to STS stays on the machine', async t => {
  const yaml = (connect: string) => `sts: { insecure: true, hosts: [{ host: my-sts, connect: "${connect}" }] }`
  t.same(problems({ yaml: yaml('10.0.0.1:80') }), [
    'sts.insecure: only where every host of sts.hosts connects to loopback, and my-sts does not (from proxy.yaml:1)',
  ])
  t.same(problems({ args: { 'sts.insecure': 'true' } }), [
    'sts.insecure: only where every host of sts.hosts connects to loopback, and sts.amazonaws.com does not (from --sts-insecure)',
  ])
  t.ok(loaded({ yaml: yaml('127.0.0.1:80'), args: upstream }).sts.insecure)
})

t.test('NODE_TLS_REJECT_UNAUTHORIZED=0 is refused', async t => {
  t.same(problems({ env: { NODE_TLS_REJECT_UNAUTHORIZED: '0' } }), [
    'NODE_TLS_REJECT_UNAUTHORIZED: turns off the verification of every certificate, that of STS too: unset it',
  ])
})

t.test('a listener beyond loopback has TLS, or says that it has not', async t => {
  const args = { ...upstream, 'listen.host': '0.0.0.0' }
  t.same(problems({ args }), ['tls: needed on 0.0.0.0: give certFile and keyFile, or write out tls: off'])
  t.equal(loaded({ args: { ...args, tls: 'off' } }).tls, undefined)
  t.equal(loaded({ args, yaml: 'tls: off' }).tls, undefined)
  for (const host of ['127.0.0.1', '127.9.9.9', '::1', 'localhost']) {
    t.equal(loaded({ args: { ...args, 'listen.host': host } }).tls, undefined, host)
  }
  t.same(problems({ args, yaml: 'tls: false' }), ['tls: wanted off, got false (from proxy.yaml:1)'])
  t.same(problems({ args, yaml: 'tls:\n' }), [
    'tls: needed on 0.0.0.0: give certFile and keyFile, or write out tls: off',
  ])
})

t.test('certificate and key are read and tried', async t => {
  const files = { crt: first.cert, key: first.key, other: second.key, encrypted: encrypted.key, junk: 'junk' }
  const tls = (certFile: string, keyFile: string) =>
    problems({ files, args: { 'tls.certFile': certFile, 'tls.keyFile': keyFile } })
  t.same(tls('junk', 'key'), ['tls.certFile: junk holds no PEM certificate (from --tls-cert-file)'])
  t.same(tls('crt', 'junk'), ['tls.keyFile: junk holds no PEM private key without a passphrase (from --tls-key-file)'])
  t.same(tls('crt', 'other'), ['tls.keyFile: other is not the key of crt (from --tls-key-file)'])
  t.same(tls('crt', 'encrypted'), [
    'tls.keyFile: encrypted holds no PEM private key without a passphrase (from --tls-key-file)',
  ])
  t.same(tls('none', './locked'), [
    'tls.certFile: cannot read none: there is no such file (from --tls-cert-file)',
    'tls.keyFile: cannot read ./locked: its permissions forbid to read it (from --tls-key-file)',
  ])
  t.same(problems({ files, args: { 'tls.certFile': 'crt' } }), [
    'tls.certFile: needs tls.keyFile as well (from --tls-cert-file)',
  ])
  t.same(problems({ files, yaml: 'tls: off', args: { 'tls.keyFile': 'key' } }), [
    'tls: off contradicts tls.keyFile (from proxy.yaml:1)',
  ])
})

t.test('authorities of client certificates are read whole, and stand beside a certificate of our own', async t => {
  const bundle = `# ours\n${first.cert}\n# and theirs\n${second.cert}`
  const files = { crt: first.cert, key: first.key, ca: bundle, junk: `${first.cert}${first.key}`, empty: '# none\n' }
  const args = { ...upstream, 'tls.certFile': 'crt', 'tls.keyFile': 'key' }
  t.equal(loaded({ files, args: { ...args, 'tls.clientCAFile': 'ca' } }).tls?.clientCA, bundle.trimEnd())
  t.equal(loaded({ files, args }).tls?.clientCA, undefined)
  for (const name of ['junk', 'empty']) {
    t.same(problems({ files, args: { ...args, 'tls.clientCAFile': name } }), [
      `tls.clientCAFile: ${name} holds something that is no PEM certificate, or nothing (from --tls-client-ca-file)`,
    ])
  }
  t.same(problems({ files, env: { MONGO_IAM_PROXY_TLS_CLIENT_CA_FILE: 'ca' } }), [
    'tls.clientCAFile: needs tls.certFile and tls.keyFile as well (from MONGO_IAM_PROXY_TLS_CLIENT_CA_FILE)',
  ])
  t.same(problems({ files, yaml: 'tls: off', args: { 'tls.clientCAFile': 'ca' } }), [
    'tls: off contradicts tls.clientCAFile (from proxy.yaml:1)',
  ])
})

t.test('a success is remembered where clients are verified, and nowhere else', async t => {
  const files = { crt: first.cert, key: first.key, ca: first.cert }
  const mutual = { ...upstream, 'tls.certFile': 'crt', 'tls.keyFile': 'key', 'tls.clientCAFile': 'ca' }
  t.equal(loaded({ files, args: { ...mutual, 'sts.remember': '30s' } }).sts.successCache, 30_000)
  t.equal(loaded({ args: { ...upstream, 'sts.remember': '0s' } }).sts.successCache, 0)
  t.same(problems({ args: { 'sts.remember': '1s' } }), [
    'sts.remember: needs tls.clientCAFile: only a verified certificate of the client may stand in for its signature (from --sts-remember)',
  ])
  t.same(problems({ files, args: { ...mutual, 'sts.remember': '61s' } }), [
    'sts.remember: wanted a time from 0s to 1m, got "61s" (from --sts-remember)',
  ])
})

t.test('where clients come back to is host:port in lower case, and no wildcard', async t => {
  const advertised = (text: string) => loaded({ args: { ...upstream, 'listen.advertise': text } }).listen.advertise
  t.same(advertised('Mongo.Example.com:27017'), { host: 'mongo.example.com', port: 27017 })
  t.same(advertised('[2001:DB8::1]:1'), { host: '2001:db8::1', port: 1 })
  t.equal(loaded({ args: upstream }).listen.advertise, undefined)
  for (const text of ['mongo.example.com', 'mongo.example.com:0', 'mongodb://h:1', ':1', 'a:1,b:2']) {
    t.match(problems({ args: { 'listen.advertise': text } }), [/^listen\.advertise: wanted host:port, got/], text)
  }
  t.match(problems({ args: { 'listen.advertise': '0.0.0.0:27017' } }), [/by which clients reach the proxy/])
})

t.test('the topology is one of two, and unless told it depends on the connection string', async t => {
  t.equal(loaded({ args: upstream }).upstream.topology, undefined)
  t.equal(loaded({ args: { ...upstream, 'upstream.topology': 'single' } }).upstream.topology, 'single')
  t.match(problems({ args: { 'upstream.topology': 'sharded' } }), [/wanted primary or single/])
})

t.test('connection strings are never shown', async t => {
  const form = 'wanted a URI like mongodb://mongo.example.com:27017/ (not shown)'
  t.same(problemsOf({ args: { 'upstream.uri': 'mysql://u:hunter2@h' } }), [
    `upstream.uri: ${form} (from --upstream-uri)`,
  ])
  t.same(problemsOf({ args: { 'upstream.uri': 'mongodb+srv://a,b' } }), [`upstream.uri: ${form} (from --upstream-uri)`])
  t.same(problems({ yaml: 'upstream:\n  admin:\n    uri: [hunter2]' }), [
    `upstream.admin.uri: ${form} (from proxy.yaml:3)`,
  ])
  t.same(problemsOf({ args: { 'upstream.uriFile': 'uri' }, files: { uri: 'hunter2' } }), [
    `upstream.uriFile: in uri: ${form} (from --upstream-uri-file)`,
  ])
  t.same(problemsOf({ args: { 'upstream.uriFile': 'mongodb://u:hunter2@h' } }), [
    'upstream.uriFile: wanted the path of a file, got something else (not shown) (from --upstream-uri-file)',
  ])
  t.same(problems({ env: { MONGO_IAM_PROXY_UPSTREAM_URI_FILE: 'uri' }, files: { uri: 'mongodb://h' } }), [
    'upstream.uri: excludes upstream.uriFile: give one of them (from --upstream-uri)',
  ])
})

t.test('a user has one password, from a file or a variable', async t => {
  const users = (...entries: string[]) =>
    `users:\n${entries.map(entry => `  - { arn: a, user: u, ${entry} }\n`).join('')}`
  t.same(
    problems({
      yaml: users('passwordFile: /run/none', 'passwordFile: empty', 'passwordFile: ./binary'),
      files: { empty: '\n', './binary': Buffer.of(0xff) },
    }),
    [
      'users[0].passwordFile: cannot read /run/none: there is no such file (from proxy.yaml:2)',
      'users[1].passwordFile: empty is empty (from proxy.yaml:3)',
      'users[2].passwordFile: cannot read ./binary: it is not UTF-8 text (from proxy.yaml:4)',
    ],
  )
  t.same(problems({ yaml: users('passwordEnv: NONE', 'passwordEnv: EMPTY'), env: { EMPTY: '' } }), [
    'users[0].passwordEnv: the variable NONE is not set (from proxy.yaml:2)',
    'users[1].passwordEnv: the variable EMPTY is empty (from proxy.yaml:3)',
  ])
  t.same(
    problems({
      yaml: users('passwordEnv: hunter2', 'password: hunter2', 'passwordfile: f', 'passwordEnv: A, passwordFile: b'),
    }),
    [
      'users[0].passwordEnv: wanted the name of a variable in capitals, like ORDERS_PASSWORD (not shown) (from proxy.yaml:2)',
      'users[1].password: a password does not stand in the file; name a passwordFile or a passwordEnv (from proxy.yaml:3)',
      'users[1]: needs either passwordFile or passwordEnv (from proxy.yaml:3)',
      'users[2].passwordfile: there is no such setting; did you mean passwordFile? (from proxy.yaml:4)',
      'users[2]: needs either passwordFile or passwordEnv (from proxy.yaml:4)',
      'users[3]: needs either passwordFile or passwordEnv (from proxy.yaml:5)',
    ],
  )
  t.same(problems({ yaml: 'users:\n  - alice\n  - { user: "" , passwordEnv: A }' }), [
    'users[0]: wanted a mapping of arn, user and passwordFile, got "alice" (from proxy.yaml:2)',
    'users[1].user: wanted the name of a database user, got "" (from proxy.yaml:3)',
  ])
  t.same(problems({ env: { MONGO_IAM_PROXY_USERS: '[]' } }), [
    'users: is a list that only the file can hold (from MONGO_IAM_PROXY_USERS)',
  ])
})

t.test('an entry is for somebody, gives something, and asks for what it asks in a form that can be read', async t => {
  const arn = 'arn: a, roles: [read@app]'
  for (const [entry, said] of [
    ['roles: [read@app]', /needs either arn or sso/],
    [`${arn}, sso: { permissionSet: p, account: "123456789012" }`, /needs either arn or sso/],
    ['sso: { permissionSet: p }, roles: [a@b]', /sso.account: wanted an account of 12 digits, got nothing/],
    ['sso: { permissionSet: p, account: 012345678901 }, roles: [a@b]', /sso.account: is a number to YAML/],
    [`${arn}, user: u, passwordEnv: A`, /needs either user, with its password, or roles/],
    [`${arn}, passwordEnv: A`, /makes up the password itself/],
    ['arn: a, roles: []', /roles: wanted a list of roles like readWrite@app/],
    ['arn: a, roles: readWrite@app', /roles: wanted a list of roles/],
    [`${arn}, clientSource: 10.0.0.0/8`, /clientSource: wanted a list of networks/],
    [`${arn}, deleteAfterDate: 2026-02-30`, /deleteAfterDate: is a time that does not exist/],
    [`${arn}, deleteAfterDate: 2026-02-28T10:00:00`, /deleteAfterDate: wanted a time like .* with Z or an offset/],
    [`${arn}, deleteAfterDate: tomorrow`, /deleteAfterDate: wanted a time/],
    [`${arn}, scopes: [a b]`, /scopes\[0\]: wanted the name of a scope/],
    [`${arn}, maxAge: 1d`, /maxAge: wanted a time like 30m or 12h/],
    [`${arn}, maxage: 1h`, /there is no such setting; did you mean maxAge\?/],
  ] as const) {
    t.match(problems({ yaml: `users:\n  - { ${entry} }`, env: { A: 'x' } }), [said], entry)
  }
})

t.test('a date is a time of day with its zone, or the beginning of a day in UTC', async t => {
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

t.test('an account id without quotes is a number that lost its zero', async t => {
  t.same(problems({ yaml: 'users:\n- arn: 012345678901\n  user: u\n  passwordEnv: A' }), [
    'users[0].arn: is a number to YAML, which drops leading zeros: write it in quotes (from proxy.yaml:2)',
  ])
})

t.test('a secret that everybody can read is a warning', async t => {
  const yaml = 'users: [{ arn: a, user: u, passwordFile: pass.open }]'
  t.same(loaded({ yaml, args: upstream, files: { 'pass.open': 'x' } }).warnings, [
    'users[0].passwordFile: everybody on this machine can read pass.open',
  ])
})

t.test('variables that Kubernetes sets for a Service are not ours', async t => {
  const env = {
    MONGO_IAM_PROXY_SERVICE_HOST: '10.0.0.1',
    MONGO_IAM_PROXY_SERVICE_PORT_MONGODB: '27017',
    MONGO_IAM_PROXY_PORT: 'tcp://10.0.0.1:27017',
    MONGO_IAM_PROXY_PORT_27017_TCP_ADDR: '10.0.0.1',
    MONGO_IAM_PROXY_ADMIN_PORT: 'tcp://10.0.0.1:9216',
  }
  t.equal(loaded({ env, args: upstream }).admin.port, 9216)
})

t.test('a bad variable names the one that was meant', async t => {
  t.same(problems({ env: { MONGO_IAM_PROXY_LISTEN_PROT: '1', MONGO_IAM_PROXY_ZZZ: '1' } }), [
    'MONGO_IAM_PROXY_LISTEN_PROT: there is no such setting; did you mean MONGO_IAM_PROXY_LISTEN_PORT?',
    'MONGO_IAM_PROXY_ZZZ: there is no such setting',
  ])
})

t.test('a file that is no YAML is named with its line, and nothing of it is repeated', async t => {
  t.match(problemsOf({ yaml: 'listen:\n  port: 1\n  port: 2\n' }), [
    /^not YAML: Map keys must be unique \(from proxy.yaml:3\)$/,
  ])
  t.match(problemsOf({ yaml: 'a: b\n]hunter2: "x' }), [/^not YAML: .*\(from proxy.yaml:2\)$/])
  t.notMatch(`${problemsOf({ yaml: 'a: b\n]hunter2: "x' })}`, /hunter2/)
  t.same(problemsOf({ yaml: '- a' }), ['wanted a mapping of settings (from proxy.yaml)'])
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
    ['cannot read the configuration: there is no such file (from none)'],
  )
})

t.test('no piece of a broken file is repeated', async t => {
  for (const yaml of [
    'upstream: { uri: mongodb://a:hunter2@c } extra hunter2',
    'upstream: { uri: @hunter2 }',
    'upstream:\n  uri: "mongodb://u:hunter2\\q"',
    'upstream:\n\turi: hunter2',
    'a: b: hunter2',
    'a: "hunter2',
  ]) {
    const [first] = [problemsOf({ yaml })].flat()
    t.match(first, /^not YAML: .* \(from proxy.yaml:\d\)$/, yaml)
    t.notMatch(first, /hunter2/, yaml)
  }
})

t.test('aliases are followed, and those of nothing are problems', async t => {
  t.equal(loaded({ yaml: 'login: { timeout: &t 5s }\nldap: { every: *t }', args: upstream }).ldap.every, 5000)
  t.same(problems({ yaml: 'listen: *nope\nusers: *nope' }), [
    'listen: wanted a mapping of host, port, advertise, scope, backlog, connections, perAddress, reauthenticate (from proxy.yaml:1)',
    'users: its aliases cannot be followed (from proxy.yaml:2)',
  ])
})

t.test('a group must be a mapping, and may be empty', async t => {
  t.same(problems({ yaml: 'listen: 27017\nadmin:\n' }), [
    'listen: wanted a mapping of host, port, advertise, scope, backlog, connections, perAddress, reauthenticate (from proxy.yaml:1)',
  ])
  t.same(problems({ yaml: 'tls: { self: off }\n__proto__: { x: 1 }\nsts: { quota: }' }), [
    'tls.self: there is no such setting (from proxy.yaml:1)',
    '__proto__: there is no such setting (from proxy.yaml:2)',
    'sts.quota: wanted a whole number from 1 to 1000000, got nothing (from proxy.yaml:3)',
  ])
  t.equal(loaded({ yaml: '', args: upstream }).listen.port, 27017)
})

t.test('master secrets are lines of a file, of 32 bytes or more, and never shown', async t => {
  const secret = (n: number) => `hunter2-${'x'.repeat(24)}${n}`
  const args = { ...upstream, 'provision.secretFile': 'secret' }
  const { provision } = loaded({ args, files: { secret: `${secret(1)}\n\n${secret(2)}\r\n` } })
  t.same(
    provision.secrets.map(one => one.reveal()),
    [secret(1), secret(2)],
  )
  t.match(provision, { database: 'mongo_iam_proxy', fleet: 'default', period: 86_400_000, clientSource: undefined })
  t.same(loaded({ args: upstream }).provision.secrets, [])
  for (const [text, problem] of [
    ['hunter2-too-short\n', 'in secret: secret 1 has less than 32 bytes: openssl rand -base64 32'],
    [`${secret(1)}\nhunter2\n`, 'in secret: secret 2 has less than 32 bytes: openssl rand -base64 32'],
    [`${secret(1)}\n${secret(1)}\n`, 'in secret: secret 2 stands there twice'],
    ['', 'secret is empty'],
  ] as const) {
    const [first] = [problems({ args, files: { secret: text } })].flat()
    t.match(first, problem)
    t.notMatch(first, /hunter2/)
  }
  const open = { ...upstream, 'provision.secretFile': 'secret.open' }
  t.match(loaded({ args: open, files: { 'secret.open': secret(1) } }).warnings[1], /everybody .* secret\.open/)
})

t.test('what provisioned users are called and from where they come', async t => {
  const { provision } = loaded({
    args: { ...upstream, 'provision.clientSource': '10.0.0.0/8, ::1', 'provision.period': '1h' },
  })
  t.match(provision, { clientSource: ['10.0.0.0/8', '::1'], period: 3_600_000 })
  for (const database of ['admin', 'local', 'config', '$external', 'a.b', 'a/b']) {
    t.match(problems({ args: { 'provision.database': database } }), [/^provision\.database: wanted /], database)
  }
  t.match(problems({ args: { 'provision.fleet': 'a/b' } }), [/^provision\.fleet: wanted a name of letters/])
})

t.test('the token of the admin interface is long enough, and never shown', async t => {
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
    const said = `${problems({ args, files: { token } })}`
    t.match(said, 'admin.tokenFile: in token: wanted one line of 20 to 512 printable characters')
    t.notMatch(said, /hunter2/)
  }
})

t.test('a token that would cross the network in plain text is a warning', async t => {
  const files = { token: 'hunter2-hunter2-hunter2\n' }
  const args = { ...upstream, 'admin.tokenFile': 'token' }
  const said = (more: Record<string, string>) => loaded({ args: { ...args, ...more }, files }).warnings.slice(1)
  t.same(said({}), [])
  t.same(said({ 'admin.host': '::1' }), [])
  t.same(said({ 'admin.host': '0.0.0.0', 'admin.port': 'off' }), [])
  t.match(said({ 'admin.host': '0.0.0.0' }), [/^admin\.tokenFile: admin\.host 0\.0\.0\.0 .* plain text/])
})

t.test('names for the admin interface are without a port and compared in lower case', async t => {
  t.same(loaded({ args: { ...upstream, 'admin.hosts': 'Proxy.Internal, 10.0.0.7' } }).admin.hosts, [
    'proxy.internal',
    '10.0.0.7',
  ])
  t.match(problems({ args: { 'admin.hosts': 'http://proxy' } }), [/^admin\.hosts.*wanted a name or an address/])
})

t.test('the text of the deny list comes with its path', async t => {
  const args = { ...upstream, 'deny.file': 'deny.yaml' }
  t.match(loaded({ args, files: { 'deny.yaml': '[]\n...\n' } }).deny, { file: 'deny.yaml', text: '[]\n...' })
  t.match(problems({ args }), [/^deny\.file: cannot read deny\.yaml: there is no such file/])
  t.match(problems({ args, files: { 'deny.yaml': '' } }), [/^deny\.file: deny\.yaml is empty/])
})

t.test('an entry of a wrong form hides none behind it, and each is known by its place', async t => {
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
  const further: ConfigSources['further'] = ({ users }, places) =>
    users.map(({ roles }, at) => `${roles ?? 'user'}: ${places[at]?.rule} ${places[at]?.from}`)
  t.match(problemsOf({ yaml, env, further }), [
    /^users\[1\]\.roles: .*\(from proxy\.yaml:4\)/,
    /^users\[3\]: wanted a mapping.*\(from proxy\.yaml:6\)/,
    /^users\[2\]\.passwordFile: cannot read.*\(from proxy\.yaml:5\)/,
    'read@app: 1 proxy.yaml:3',
    'user: 3 proxy.yaml:5',
    'read@app: 5 proxy.yaml:7',
  ])
})

t.test('a secret that was written in the place of its file is not shown', async t => {
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
      /: cannot read the file that is named here \(not shown, .* like \.\/secret \(from /,
    ])
    t.notMatch(JSON.stringify([fault?.message, fault?.detail, fault?.facts]), slipped)
  }
})

t.test('what the deny file says is told whatever else is wrong', async t => {
  const given = { args: { 'deny.file': 'deny.yaml', 'tls.certFile': 'none' }, files: { 'deny.yaml': '[]\n...\n' } }
  t.match(faultOf(() => loaded(given))?.facts.deny, { file: 'deny.yaml', text: '[]\n...' })
})

t.test('where the file itself says nothing, the deny file is the one that was known', async t => {
  const files = { 'deny.yaml': '[]\n...\n', 'other.yaml': '- AKIAIOSFODNN7EXAMPLE\n...\n' }
  for (const yaml of ['users: [', 'just a text']) {
    const given = { yaml, files, denyFile: 'deny.yaml' }
    t.match(faultOf(() => loaded(given))?.facts.deny, { file: 'deny.yaml', text: '[]\n...' })
    const flagged = { ...given, args: { 'deny.file': 'other.yaml' } }
    t.match(faultOf(() => loaded(flagged))?.facts.deny, { file: 'other.yaml' }, 'a flag is still one')
  }
  const readable = { yaml: 'nothing: 1', files, denyFile: 'deny.yaml' }
  t.match(faultOf(() => loaded(readable))?.facts.deny, { file: undefined }, 'here it says that there is none')
})
