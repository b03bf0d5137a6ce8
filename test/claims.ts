/** What the project claims, and which independent implementations confirm it. Rendered into interop/claims.md. */
import { readFileSync, writeFileSync } from 'node:fs'
import t from 'tap'

type Claim = {
  claim: string
  /** Test files, relative to this folder. */
  tests: readonly string[]
  /** Independent implementations that confirm the claim. If there are none, only the sandbox supports it. */
  confirmedBy: readonly string[]
  /** The document that specifies the expected behavior. Required if only the sandbox supports the claim. */
  source?: string
}

const SPEC = 'mongodb/specifications'
const claims: readonly Claim[] = [
  {
    claim: 'the MONGODB-AWS conversation',
    tests: ['e2e/drivers.ts', 'e2e/mongosh.ts', 'interop/clients.ts'],
    confirmedBy: ['Node.js driver 6 and 7', 'mongosh', 'PyMongo', 'Go driver 1 and 2', 'Mongoose'],
  },
  {
    claim: 'the request to STS carries the signature of the client',
    tests: ['interop/aws.ts', 'identity/proof.ts'],
    confirmedBy: ['moto', 'the signer of the Node.js driver'],
  },
  {
    claim: 'calls to STS go through an HTTP proxy, whose failures are never a refusal',
    tests: ['interop/stsProxy.ts', 'identity/connectProxy.ts'],
    confirmedBy: ['tinyproxy 1.11'],
  },
  {
    claim: 'SCRAM-SHA-256 to the upstream, with a third round trip and without speculative authentication',
    tests: ['interop/ferretdb.ts'],
    confirmedBy: ['FerretDB 1.24'],
  },
  {
    claim: 'SCRAM-SHA-256 to the upstream, with speculative authentication and skipEmptyExchange',
    tests: ['upstream/dial.ts', '../sandbox/test/mongo/authenticationCommands.ts'],
    confirmedBy: [],
    source: `${SPEC}, auth.md: speculative authentication, skipEmptyExchange`,
  },
  {
    claim: 'commands and replies are relayed unchanged',
    tests: ['interop/ferretdb.ts', 'interop/secantusdb.ts', 'interop/pymongoSuite.ts'],
    confirmedBy: ['FerretDB 1.24', 'SecantusDB 0.7 (Python) and 0.5 (Rust)', 'the test suite of PyMongo'],
  },
  {
    claim: 'the roles of the mapped user are enforced, and connectionStatus shows that user',
    tests: ['e2e/drivers.ts', 'interop/clients.ts', 'interop/secantusdb.ts'],
    confirmedBy: ['SecantusDB'],
    source: 'MongoDB manual, built-in roles and connectionStatus',
  },
  {
    claim: 'on a server without roles, a rule with roles is a configuration problem, and a rule with a user works',
    tests: ['interop/ferretdb.ts', 'provisioning/audit.ts'],
    confirmedBy: ['FerretDB 1.24'],
  },
  {
    claim:
      'the proxy provisions users: roles that change in open sessions, one collection, periods, a second secret, pruning',
    tests: ['interop/secantusdb.ts', 'provisioning/provisioner.ts'],
    confirmedBy: ['SecantusDB 0.5 (Rust)'],
  },
  {
    claim: 'LDAP guard, provisioning and provision.clientSource need each of the documented privileges',
    tests: ['interop/secantusdb.ts', 'provisioning/privileges.ts'],
    confirmedBy: ['SecantusDB 0.5 (Rust)'],
  },
  {
    claim: 'the proxy removes roles for one collection that no user needs, with dropRole',
    tests: ['provisioning/privileges.ts'],
    confirmedBy: [],
    source: 'MongoDB manual, dropRole and admin.system.roles, which SecantusDB (Rust) shows empty',
  },
  {
    claim: 'the proxy reads the directory from admin.system.users',
    tests: ['interop/secantusdb.ts', 'e2e/directory.ts'],
    confirmedBy: ['SecantusDB 0.7 (Python)'],
  },
  {
    claim: 'a principal of the directory logs in with the roles of its user',
    tests: ['e2e/directory.ts'],
    confirmedBy: [],
    source:
      'MongoDB manual, $external and createUser; no other server here has both a readable directory and customData',
  },
  {
    claim: 'a server that drops customData is a configuration problem',
    tests: ['interop/secantusdb.ts'],
    confirmedBy: ['SecantusDB 0.7 (Python)'],
  },
  {
    claim: 'credentials from Lambda, ECS, EKS and EC2, and their renewal',
    tests: ['e2e/credentials.ts', 'interop/credentials.ts'],
    confirmedBy: ['AWS SDK for JavaScript', 'botocore', 'Go driver 1 and 2'],
  },
  {
    claim:
      'the sandbox answers as the credential endpoints of ECS, EKS and EC2 and AssumeRoleWithWebIdentity of STS do',
    tests: ['../sandbox/test/aws/credentialEndpoints.ts'],
    confirmedBy: ['AWS SDK for JavaScript', 'botocore'],
  },
  {
    claim: 'the error codes, HTTP statuses and order of checks of STS',
    tests: ['../sandbox/test/aws/sts.ts', 'e2e/refusals.ts'],
    confirmedBy: [],
    source: 'published observations of AWS STS, its API reference and common errors',
  },
  {
    claim: 'STS quotas apply per account and region',
    tests: ['../sandbox/test/aws/sts.ts', 'budget/buckets.ts'],
    confirmedBy: [],
    source: 'AWS documentation, IAM and STS quotas; AWS Security Blog on token buckets that refill every second',
  },
  {
    claim: 'a replica set behind one address: discovery, failover, retryable writes',
    tests: ['e2e/replicaSet.ts', 'e2e/upstreamStates.ts', 'upstream/topology.ts'],
    confirmedBy: ['Node.js driver 7 as the client'],
    source: `${SPEC}, server-discovery-and-monitoring.md, retryable-writes.md; the sandbox simulates the members`,
  },
  {
    claim: 'awaitable and streamed hello',
    tests: ['e2e/lifecycle.ts', 'e2e/replicaSet.ts'],
    confirmedBy: ['Node.js driver 6 and 7'],
    source: `${SPEC}, server-monitoring.md; the sandbox is the server`,
  },
  {
    claim: 'a login that exceeds maxAge is renewed or replaced without an error in the application',
    tests: ['e2e/reauthentication.ts', 'interop/reauthentication.ts'],
    confirmedBy: ['Node.js driver 6 and 7', 'PyMongo', 'Go driver 1 and 2'],
  },
  {
    claim: 'LDAP authorization is detected on MongoDB Enterprise and Percona Server',
    tests: ['ldap/ldap.ts', 'e2e/refusals.ts'],
    confirmedBy: [],
    source: 'MongoDB manual, security.ldap.authz.queryTemplate; percona-server-mongodb ldap_options.idl',
  },
  {
    claim: 'LDAP authorization is excluded on FerretDB',
    tests: ['interop/ferretdb.ts', 'ldap/ldap.ts'],
    confirmedBy: ['FerretDB 1.24'],
  },
]

function renderTable(): string {
  const rows = claims.map(({ claim, confirmedBy, source = '', tests }) => {
    const implementations = confirmedBy.length > 0 ? confirmedBy.join(', ') : '**the sandbox only**'
    return `| ${claim} | ${implementations} | ${source} | ${tests.map(file => `\`${file}\``).join(', ')} |\n`
  })
  return [
    '# Claims and the independent implementations that confirm them\n\n',
    'Generated by `TAP_SNAPSHOT=1 npx tap test/claims.ts`. Test files are relative to `test/`.\n\n',
    '| claim | independent implementations | source of the expected behavior | tests |\n',
    '| --- | --- | --- | --- |\n',
    ...rows,
  ].join('')
}

const file = new URL('interop/claims.md', import.meta.url)

t.test('claims.md is up to date', async t => {
  if (process.env.TAP_SNAPSHOT === '1') writeFileSync(file, renderTable())
  t.equal(readFileSync(file, 'utf8'), renderTable())
})

t.test('each claim names existing tests, and a source if only the sandbox supports it', async t => {
  for (const { claim, tests, confirmedBy, source } of claims) {
    for (const name of tests)
      t.match(readFileSync(new URL(name, import.meta.url), 'utf8'), /t\.test\(/, `${claim}: ${name}`)
    t.ok(confirmedBy.length > 0 || source, claim)
  }
})
