/** Every kind of refused login as an application sees it through a real driver, and that the next login succeeds. */
import type { MongoClientOptions } from 'mongodb'
import t, { type Test } from 'tap'
import type { FaultInjection } from '../../sandbox/src/aws/sts.js'
import type { FaultKind } from '../../src/errors.js'
import { type AwsKeys, type Driver, requireClients } from '../support/clients.js'
import { stsFailures } from '../support/stsFailures.js'
import { errorXML } from '../support/stsReplies.js'
import { ACCOUNT, startTestProxy, type TestProxy, type TestProxyOptions } from '../support/testProxy.js'

const drivers: readonly Driver[] = ['mongodb7', 'mongodb6']

type Reply = { code: number; codeName: string; labels: string[] }

/** The identity was rejected: no label, so no driver retries. */
const REFUSED: Reply = { code: 18, codeName: 'AuthenticationFailed', labels: [] }
/** The identity could not be verified: labels ask every driver to retry. */
const RETRYABLE: Reply = {
  code: 262,
  codeName: 'ExceededTimeLimit',
  labels: ['RetryableError', 'RetryableWriteError', 'SystemOverloadedError'],
}
const UNREACHABLE: Reply = { code: 6, codeName: 'HostUnreachable', labels: ['RetryableWriteError'] }

const throttling: FaultInjection = (_request, response) => {
  response.writeHead(400, { 'Content-Type': 'text/xml' }).end(errorXML('Throttling', 'Rate exceeded'))
}

type Case = TestProxyOptions & {
  kind: FaultKind
  reply: Reply
  message: RegExp
  /** Causes the failure. Gives the keys to log in with, if they are not Alice's. */
  cause(proxy: TestProxy): AwsKeys | undefined | Promise<AwsKeys | undefined>
  /** Ends the failure. */
  end?(proxy: TestProxy): unknown
}

const cases: Record<string, Case> = {
  'an unknown key': {
    kind: 'sts/refused',
    reply: REFUSED,
    message: /InvalidClientTokenId/,
    cause: ({ keyOf }) => ({ ...keyOf('alice'), accessKeyId: 'AKIAQAAAAAAAAAAAAAAA' }),
  },
  'a bad secret': {
    kind: 'sts/refused',
    reply: REFUSED,
    message: /SignatureDoesNotMatch/,
    cause: ({ keyOf }) => ({ ...keyOf('alice'), secretAccessKey: 'guessed' }),
  },
  'an expired token': {
    kind: 'sts/refused',
    reply: REFUSED,
    message: /ExpiredToken/,
    cause: ({ session }) => session(0),
  },
  'the token of another key': {
    kind: 'sts/refused',
    reply: REFUSED,
    message: /InvalidClientTokenId/,
    cause: ({ session }) => ({ ...session(), sessionToken: session().sessionToken }),
  },
  'an ARN that no rule has': {
    kind: 'users/no-rule',
    reply: REFUSED,
    message: new RegExp(`no rule matches this principal: arn:aws:iam::${ACCOUNT}:user/mallory`),
    cause: ({ keyOf }) => keyOf('mallory'),
  },
  'an STS that is down': {
    kind: 'sts/unavailable',
    reply: RETRYABLE,
    message: /AWS STS returned no usable answer/,
    cause: async ({ links: gates }) => {
      await gates.sts.refuseConnections()
      gates.sts.resetConnections()
      return undefined
    },
    end: ({ links: gates }) => gates.sts.restore(),
  },
  'an STS that throttles': {
    kind: 'sts/throttled',
    reply: RETRYABLE,
    message: /Throttling/,
    cause: ({ sts }) => {
      sts.injectFault(throttling)
      return undefined
    },
    end: ({ sts }) => sts.injectFault(undefined),
  },
  'an STS that answers with HTML': {
    kind: 'sts/unavailable',
    reply: RETRYABLE,
    message: /AWS STS returned no usable answer/,
    cause: ({ sts }) => {
      sts.injectFault(stsFailures.forbiddenPage)
      return undefined
    },
    end: ({ sts }) => sts.injectFault(undefined),
  },
  'an STS that never answers': {
    kind: 'sts/unavailable',
    reply: RETRYABLE,
    message: /AWS STS returned no usable answer/,
    cause: ({ sts }) => {
      sts.injectFault(stsFailures.hang)
      return undefined
    },
    end: ({ sts }) => sts.injectFault(undefined),
  },
  'an upstream that takes no more connections': {
    kind: 'upstream/unreachable',
    reply: UNREACHABLE,
    message: /the upstream MongoDB is unreachable/,
    cause: async ({ links: gates }) => {
      await gates.mongo.refuseConnections()
      return undefined
    },
    end: ({ links: gates }) => gates.mongo.restore(),
  },
  'a wrong password of the database user': {
    kind: 'upstream/authentication-failed',
    reply: RETRYABLE,
    message: /rejected the database user/,
    cause: ({ keyOf }) => keyOf('bob'),
  },
}

await requireClients(...drivers)

for (const [title, { kind, reply, message, cause, end, ...options }] of Object.entries(cases)) {
  t.test(`${title}: ${reply.codeName}, and the next login succeeds`, async t => {
    const proxy = await startTestProxy(t, options)
    await expectLogin(t, proxy, 'mongodb7') // by now the proxy has its monitoring connection
    const keys = (await cause(proxy)) ?? proxy.keyOf('alice')
    const errors = await Promise.all(drivers.map(driver => errorOf(t, proxy, driver, keys)))
    t.match(errors, [
      { ...reply, message },
      { ...reply, message },
    ])
    t.same(await faultsOf(proxy, drivers.length), [kind, kind], 'a login past its deadline would have another fault')
    await end?.(proxy)
    for (const driver of drivers) await expectLogin(t, proxy, driver)
  })
}

t.test(
  'while the upstream is unreachable no login is refused as a bad identity, and afterwards logins succeed',
  async t => {
    const proxy = await startTestProxy(t)
    await expectLogin(t, proxy, 'mongodb7')
    await proxy.links.mongo.refuseConnections()
    proxy.links.mongo.resetConnections()
    for (const driver of drivers) {
      const client = await proxy.client(driver, proxy.keyOf('alice'), { serverSelectionTimeoutMS: 1_000 })
      await t.rejects(client.connect(), { name: 'MongoServerSelectionError' }, driver)
    }
    await proxy.links.mongo.restore()
    for (const driver of drivers) await expectLogin(t, proxy, driver)
  },
)

t.test('with LDAP authorization at the upstream, logins are refused with the reason', async t => {
  const proxy = await startTestProxy(t, { ldapAuthorization: true })
  const before = proxy.sts.calls()
  for (const driver of drivers) {
    const error = await errorOf(t, proxy, driver, proxy.keyOf('alice'))
    t.match(error, { ...REFUSED, message: /LDAP authorization is on at the upstream/ }, driver)
  }
  t.same(proxy.sts.calls(), before, 'without a call to STS')
})

/**
 * Opens no connection before the first operation, so that the first login belongs to an operation, as it does whenever a
 * pool grows; drivers have this option for their own tests. Polls hello, because driver 6 checks a server again only when
 * its pending awaitable hello returns, up to ten seconds later.
 */
const lazy = { __skipPingOnConnect: true, serverMonitoringMode: 'poll' } as MongoClientOptions

/** How often each driver attempts an operation whose login gets a retryable error, and how often it clears its pool. */
const retries = { mongodb7: { tries: 3, cleared: 0 }, mongodb6: { tries: 2, cleared: 2 } }

for (const driver of drivers) {
  const { tries, cleared } = retries[driver]
  t.test(
    `${driver} attempts an operation ${tries} times while STS is unavailable, and clears its pool ${cleared} times`,
    async t => {
      const proxy = await startTestProxy(t)
      proxy.sts.injectFault(stsFailures.forbiddenPage)
      const client = await proxy.client(driver, proxy.keyOf('alice'), lazy)
      const events = { created: 0, cleared: 0 }
      client.on('connectionCreated', () => events.created++)
      client.on('connectionPoolCleared', () => events.cleared++)
      await t.rejects(client.db('app').collection('orders').findOne(), { code: 262 })
      t.same(events, { created: tries, cleared })
    },
  )

  t.test(`${driver} hides a short outage of STS from its application`, async t => {
    const proxy = await startTestProxy(t)
    const client = await proxy.client(driver, proxy.keyOf('alice'), lazy)
    proxy.sts.injectFault(stsFailures.forbiddenPage)
    client.once('connectionClosed', () => proxy.sts.injectFault(undefined))
    t.equal(await client.db('app').collection('orders').findOne(), null)
    t.same(await faultsOf(proxy, 1), ['sts/unavailable'])
  })
}

/** Labels that drivers add to errors. */
const DRIVER_LABELS = ['HandshakeError', 'ResetPool']

/** The error of a connect, with its labels sorted and without those that drivers add. */
async function errorOf(t: Test, { client }: TestProxy, driver: Driver, keys: AwsKeys) {
  const connecting = await client(driver, keys)
  try {
    await connecting.connect()
  } catch (thrown) {
    const { code, codeName, message, errorLabels = [] } = thrown as Record<string, never> & { errorLabels: string[] }
    const labels = [...errorLabels].filter(label => !DRIVER_LABELS.includes(label)).sort()
    return { code, codeName, message, labels }
  }
  return t.fail(`${driver} has logged in`)
}

/** The faults of `count` logins, from the log line of each closed connection. */
async function faultsOf({ closedLines }: TestProxy, count: number): Promise<unknown[]> {
  return (await closedLines(count, ({ fault }) => fault !== undefined)).map(({ fault }) => fault)
}

async function expectLogin(t: Test, proxy: TestProxy, driver: Driver): Promise<void> {
  const client = await proxy.client(driver, proxy.keyOf('alice'))
  const { authInfo } = await client.db('app').command({ connectionStatus: 1 })
  t.match(authInfo.authenticatedUsers, [{ user: 'alice', db: 'admin' }], `${driver} logs in`)
  await client.close()
}
