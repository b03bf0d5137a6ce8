/**
 * Every refused login as an application sees it through a real driver; whoever comes next is served. It is long because
 * the refusals are one table.
 */
import type { MongoClientOptions } from 'mongodb'
import t, { type Test } from 'tap'
import type { FaultInjection } from '../../sandbox/src/aws/sts.js'
import type { FaultKind } from '../../src/errors.js'
import { type AwsKeys, type Driver, requireClients } from '../support/clients.js'
import { stsFailures } from '../support/stsFailures.js'
import { errorXML } from '../support/stsReplies.js'
import { ACCOUNT, startTestProxy, type TestProxy, type TestProxyOptions } from '../support/testProxy.js'

const drivers: readonly Driver[] = ['mongodb7', 'mongodb6']

type Told = { code: number; codeName: string; labels: string[] }

/** The identity is not good enough: no label, so nobody tries again. */
const REFUSED: Told = { code: 18, codeName: 'AuthenticationFailed', labels: [] }
/** It could not be found out: every driver is told to come back. */
const LATER: Told = {
  code: 262,
  codeName: 'ExceededTimeLimit',
  labels: ['RetryableError', 'RetryableWriteError', 'SystemOverloadedError'],
}
const AWAY: Told = { code: 6, codeName: 'HostUnreachable', labels: ['RetryableWriteError'] }

const throttling: FaultInjection = (_request, response) => {
  response.writeHead(400, { 'Content-Type': 'text/xml' }).end(errorXML('Throttling', 'Rate exceeded'))
}

type Case = TestProxyOptions & {
  kind: FaultKind
  told: Told
  says: RegExp
  /** Makes the trouble, and gives the keys to log in with if they are not alice's. */
  trouble(house: TestProxy): AwsKeys | undefined | Promise<AwsKeys | undefined>
  /** Ends it. */
  end?(house: TestProxy): unknown
}

const cases: Record<string, Case> = {
  'an unknown key': {
    kind: 'sts/refused',
    told: REFUSED,
    says: /InvalidClientTokenId/,
    trouble: ({ keyOf }) => ({ ...keyOf('alice'), accessKeyId: 'AKIAQAAAAAAAAAAAAAAA' }),
  },
  'a bad secret': {
    kind: 'sts/refused',
    told: REFUSED,
    says: /SignatureDoesNotMatch/,
    trouble: ({ keyOf }) => ({ ...keyOf('alice'), secretAccessKey: 'guessed' }),
  },
  'an expired token': {
    kind: 'sts/refused',
    told: REFUSED,
    says: /ExpiredToken/,
    trouble: ({ session }) => session(0),
  },
  'the token of another key': {
    kind: 'sts/refused',
    told: REFUSED,
    says: /InvalidClientTokenId/,
    trouble: ({ session }) => ({ ...session(), sessionToken: session().sessionToken }),
  },
  'an ARN that no rule has': {
    kind: 'users/no-rule',
    told: REFUSED,
    says: new RegExp(`no rule matches this principal: arn:aws:iam::${ACCOUNT}:user/mallory`),
    trouble: ({ keyOf }) => keyOf('mallory'),
  },
  'an STS that is down': {
    kind: 'sts/unavailable',
    told: LATER,
    says: /AWS STS returned no usable answer/,
    trouble: async ({ links: gates }) => {
      await gates.sts.refuseConnections()
      gates.sts.resetConnections()
      return undefined
    },
    end: ({ links: gates }) => gates.sts.restore(),
  },
  'an STS that throttles': {
    kind: 'sts/throttled',
    told: LATER,
    says: /Throttling/,
    trouble: ({ sts }) => {
      sts.injectFault(throttling)
      return undefined
    },
    end: ({ sts }) => sts.injectFault(undefined),
  },
  'an STS that answers with HTML': {
    kind: 'sts/unavailable',
    told: LATER,
    says: /AWS STS returned no usable answer/,
    trouble: ({ sts }) => {
      sts.injectFault(stsFailures.forbiddenPage)
      return undefined
    },
    end: ({ sts }) => sts.injectFault(undefined),
  },
  'an STS that never answers': {
    kind: 'sts/unavailable',
    told: LATER,
    says: /AWS STS returned no usable answer/,
    trouble: ({ sts }) => {
      sts.injectFault(stsFailures.hang)
      return undefined
    },
    end: ({ sts }) => sts.injectFault(undefined),
  },
  'an upstream that takes no more connections': {
    kind: 'upstream/unreachable',
    told: AWAY,
    says: /the upstream MongoDB is unreachable/,
    trouble: async ({ links: gates }) => {
      await gates.mongo.refuseConnections()
      return undefined
    },
    end: ({ links: gates }) => gates.mongo.restore(),
  },
  'a wrong password of the database user': {
    kind: 'upstream/authentication-failed',
    told: LATER,
    says: /rejected the database user/,
    trouble: ({ keyOf }) => keyOf('bob'),
  },
  'a login past its deadline': {
    kind: 'login/timeout',
    told: LATER,
    says: /the login exceeded its deadline: 700 ms/,
    settings: { 'login.timeout': '700ms' },
    trouble: ({ links: gates }) => {
      gates.mongo.blackhole()
      return undefined
    },
    end: ({ links: gates }) => gates.mongo.restore(),
  },
}

/** The longest login by default, and what a busy machine adds. Milliseconds. */
const LONGEST = 8_000 + 2_000

await requireClients(...drivers)

for (const [title, { kind, told, says, trouble, end, ...options }] of Object.entries(cases)) {
  t.test(`${title}: ${told.codeName}, and the next client is served`, async t => {
    const proxy = await startTestProxy(t, options)
    await works(t, proxy, 'mongodb7') // by now the proxy holds a connection to ask hello on
    const keys = (await trouble(proxy)) ?? proxy.keyOf('alice')
    const began = performance.now()
    const errors = await Promise.all(drivers.map(driver => errorOf(t, proxy, driver, keys)))
    t.match(errors, [
      { ...told, message: says },
      { ...told, message: says },
    ])
    t.ok(performance.now() - began < LONGEST, 'and in time')
    t.same(await faultsOf(proxy, drivers.length), [kind, kind])
    await end?.(proxy)
    for (const driver of drivers) await works(t, proxy, driver)
  })
}

t.test(
  'an upstream that is away altogether: nobody is told that the identity is bad, and all is well afterwards',
  async t => {
    const proxy = await startTestProxy(t)
    await works(t, proxy, 'mongodb7')
    await proxy.links.mongo.refuseConnections()
    proxy.links.mongo.resetConnections()
    for (const driver of drivers) {
      const client = await proxy.client(driver, proxy.keyOf('alice'), { serverSelectionTimeoutMS: 1_000 })
      await t.rejects(client.connect(), { name: 'MongoServerSelectionError' }, driver)
    }
    await proxy.links.mongo.restore()
    for (const driver of drivers) await works(t, proxy, driver)
  },
)

t.test('LDAP authorization at the upstream: refused with the reason and what to do', async t => {
  const proxy = await startTestProxy(t, { ldapAuthorization: true })
  const before = proxy.sts.calls()
  for (const driver of drivers) {
    const error = await errorOf(t, proxy, driver, proxy.keyOf('alice'))
    t.match(error, { ...REFUSED, message: /LDAP authorization is on at the upstream/ }, driver)
  }
  t.same(proxy.sts.calls(), before, 'no call to STS was spent on them')
})

/**
 * Opens no connection ahead of the first operation: only so is a first login an operation's own, as it is whenever a pool
 * grows; drivers have this option for tests of their own. And asks hello without waiting for news, since driver 6 looks
 * again at a server that it gave up only when the hello that it waits for comes, up to ten seconds later.
 */
const lazily = { __skipPingOnConnect: true, serverMonitoringMode: 'poll' } as MongoClientOptions

/** How often each driver tries an operation whose login is put off, and whether it drops its pool over it. */
const persistence = { mongodb7: { tries: 3, cleared: 0 }, mongodb6: { tries: 2, cleared: 2 } }

for (const driver of drivers) {
  const { tries, cleared } = persistence[driver]
  t.test(
    `${driver} tries an operation ${tries} times while AWS STS is away, and drops its pool ${cleared} times`,
    async t => {
      const proxy = await startTestProxy(t)
      proxy.sts.injectFault(stsFailures.forbiddenPage)
      const client = await proxy.client(driver, proxy.keyOf('alice'), lazily)
      const seen = { created: 0, cleared: 0 }
      client.on('connectionCreated', () => seen.created++)
      client.on('connectionPoolCleared', () => seen.cleared++)
      await t.rejects(client.db('app').collection('orders').findOne(), { code: 262 })
      t.same(seen, { created: tries, cleared })
    },
  )

  t.test(`${driver} does not show an application that STS was away for a moment`, async t => {
    const proxy = await startTestProxy(t)
    const client = await proxy.client(driver, proxy.keyOf('alice'), lazily)
    proxy.sts.injectFault(stsFailures.forbiddenPage)
    client.once('connectionClosed', () => proxy.sts.injectFault(undefined))
    t.equal(await client.db('app').collection('orders').findOne(), null)
    t.same(await faultsOf(proxy, 1), ['sts/unavailable'])
  })
}

/** Labels that drivers put on errors by themselves. */
const THEIRS = ['HandshakeError', 'ResetPool']

/** The error of a connect, its labels in order and without those that drivers add themselves. */
async function errorOf(t: Test, { client }: TestProxy, driver: Driver, keys: AwsKeys) {
  const connecting = await client(driver, keys)
  try {
    await connecting.connect()
  } catch (thrown) {
    const { code, codeName, message, errorLabels = [] } = thrown as Record<string, never> & { errorLabels: string[] }
    const labels = [...errorLabels].filter(label => !THEIRS.includes(label)).sort()
    return { code, codeName, message, labels }
  }
  return t.fail(`${driver} got in`)
}

/** The faults of so many logins, from the one line that each connection leaves. */
async function faultsOf({ closedLines }: TestProxy, count: number): Promise<unknown[]> {
  return (await closedLines(count, ({ fault }) => fault !== undefined)).map(({ fault }) => fault)
}

async function works(t: Test, proxy: TestProxy, driver: Driver): Promise<void> {
  const client = await proxy.client(driver, proxy.keyOf('alice'))
  const { authInfo } = await client.db('app').command({ connectionStatus: 1 })
  t.match(authInfo.authenticatedUsers, [{ user: 'alice', db: 'admin' }], `${driver} is served`)
  await client.close()
}
