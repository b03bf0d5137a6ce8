/** What the proxy is claimed to do, and who says so beside us: rendered into interop/claims.md. */
import { readFileSync, writeFileSync } from 'node:fs'
import t from 'tap'

/** `by`: judges that are not ours. None: the sandbox alone supports it, with `source` of what was expected of a real peer. */
type Claim = { claim: string; tests: readonly string[]; by: readonly string[]; source?: string }

const SPEC = 'mongodb/specifications'
const claims: readonly Claim[] = [
  {
    claim: 'the MONGODB-AWS conversation',
    tests: ['e2e/drivers.ts', 'e2e/mongosh.ts', 'interop/clients.ts'],
    by: ['Node driver 6 and 7', 'mongosh', 'PyMongo', 'Go driver 1 and 2', 'Mongoose'],
  },
  {
    claim: 'the request to STS carries the signature that the client made',
    tests: ['interop/aws.ts', 'identity/proof.ts'],
    by: ['moto', "Node driver's own signer"],
  },
  {
    claim: 'SCRAM-SHA-256 upstream, with a third round trip and without speculation',
    tests: ['interop/ferretdb.ts'],
    by: ['FerretDB 1.24'],
  },
  {
    claim: 'SCRAM-SHA-256 upstream, speculative and without the empty exchange',
    tests: ['upstream/dial.ts', '../sandbox/test/mongo/authenticationCommands.ts'],
    by: [],
    source: `${SPEC}, auth.md: speculative authentication, skipEmptyExchange`,
  },
  { claim: 'commands and replies pass unchanged', tests: ['interop/ferretdb.ts'], by: ['FerretDB 1.24'] },
  {
    claim: 'roles are enforced for the mapped user, connectionStatus names it',
    tests: ['e2e/drivers.ts', 'interop/clients.ts'],
    by: [],
    source: 'MongoDB manual, built-in roles and connectionStatus; FerretDB 1.24 has no roles',
  },
  {
    claim: 'where a server has no roles, rules with roles are a fault of the configuration, and those with a user work',
    tests: ['interop/ferretdb.ts', 'provisioning/audit.ts'],
    by: ['FerretDB 1.24'],
  },
  {
    claim: 'where credentials come from: Lambda, ECS, EKS, EC2, and that they are renewed',
    tests: ['e2e/credentials.ts', 'interop/credentials.ts'],
    by: ['AWS SDK for JavaScript', 'botocore', 'Go driver 1 and 2'],
  },
  {
    claim: 'the endpoints of ECS, EKS, EC2 and the web identity of STS answer as AWS does',
    tests: ['../sandbox/test/aws/credentialEndpoints.ts'],
    by: ['AWS SDK for JavaScript', 'botocore'],
  },
  {
    claim: 'the codes, statuses and order of checks of STS',
    tests: ['../sandbox/test/aws/sts.ts', 'e2e/refusals.ts'],
    by: [],
    source: 'published probes of AWS STS, its API reference and common errors',
  },
  {
    claim: 'AWS charges and throttles by account and region',
    tests: ['../sandbox/test/aws/sts.ts', 'budget/buckets.ts'],
    by: [],
    source: 'AWS, IAM and STS quotas; Security Blog on token buckets refilled every second',
  },
  {
    claim: 'a set behind one address: discovery, failover, retryable writes',
    tests: ['e2e/replicaSet.ts', 'e2e/upstreamStates.ts', 'upstream/topology.ts'],
    by: ['Node driver 7 as the client'],
    source: `${SPEC}, server-discovery-and-monitoring.md, retryable-writes.md; members are the sandbox's`,
  },
  {
    claim: 'awaited and streamed hello',
    tests: ['e2e/lifecycle.ts', 'e2e/replicaSet.ts'],
    by: ['Node driver 6 and 7'],
    source: `${SPEC}, server-monitoring.md; the answering server is the sandbox`,
  },
  {
    claim: 'a login that is too old is renewed or replaced, and the application sees nothing of it',
    tests: ['e2e/reauthentication.ts', 'interop/reauthentication.ts'],
    by: ['Node driver 6 and 7', 'PyMongo', 'Go driver 1 and 2'],
  },
  {
    claim: 'LDAP authorization is found at Enterprise and at Percona',
    tests: ['ldap/ldap.ts', 'e2e/refusals.ts'],
    by: [],
    source: 'MongoDB manual, security.ldap.authz.queryTemplate; percona-server-mongodb ldap_options.idl',
  },
  {
    claim: 'LDAP authorization is excluded at FerretDB',
    tests: ['interop/ferretdb.ts', 'ldap/ldap.ts'],
    by: ['FerretDB 1.24'],
  },
]

function table(): string {
  const lines = claims.map(({ claim, by, source = '', tests }) => {
    const judges = by.length > 0 ? by.join(', ') : '**the sandbox alone**'
    return `| ${claim} | ${judges} | ${source} | ${tests.map(file => `\`${file}\``).join(', ')} |\n`
  })
  return [
    '# What is claimed, and who says so beside us\n\n',
    'Made by `TAP_SNAPSHOT=1 npx tap test/claims.ts`.\n\n',
    '| claim | judges that are not ours | what was expected, and whose word that is | tests |\n',
    '| --- | --- | --- | --- |\n',
    ...lines,
  ].join('')
}

const file = new URL('interop/claims.md', import.meta.url)

t.test('the table of claims is that of today', async t => {
  if (process.env.TAP_SNAPSHOT === '1') writeFileSync(file, table())
  t.equal(readFileSync(file, 'utf8'), table())
})

t.test('each claim names tests that exist, and a source where only the sandbox supports it', async t => {
  for (const { claim, tests, by, source } of claims) {
    for (const name of tests)
      t.match(readFileSync(new URL(name, import.meta.url), 'utf8'), /t\.test\(/, `${claim}: ${name}`)
    t.ok(by.length > 0 || source, claim)
  }
})
