/**
 * The Go drivers at ECS and EC2. It runs in the network of support/namespace.ts, where `credentials.ts` starts it: the
 * sandbox listens at AWS's own addresses there.
 *
 * These drivers take a session for over when five minutes of it are left, and then ask for the next one.
 */
import t from 'tap'
import { credentialEndpoints, type Endpoints } from '../../../src/sandbox/aws/endpoints.js'
import { type House, house } from '../../support/house.js'
import { roleOf } from '../../support/sources.js'
import { keysOf, logins } from '../support/credentials.js'
import { goClient, type Program, provided } from '../support/tools.js'

/** With `caches` a driver asks once for as long as a session is good, otherwise at each login. */
const drivers = {
  'Go 2': { folder: 'go-v2', caches: true },
  'Go 1': { folder: 'go-v1', caches: false },
} as const
type Place = {
  host: string
  session: RegExp
  /** Gives the role to the place, and the environment to who runs there. */
  enter(endpoints: Endpoints, home: House): Record<string, string>
}
const places: Record<string, Place> = {
  ECS: {
    host: '169.254.170.2',
    session: /^[0-9a-f]{32}$/,
    enter: (endpoints, home) => ({ AWS_CONTAINER_CREDENTIALS_RELATIVE_URI: endpoints.task(roleOf(home)) }),
  },
  EC2: {
    host: '169.254.169.254',
    session: /^i-0[0-9a-f]{16}$/,
    enter(endpoints, home) {
      endpoints.instance(roleOf(home))
      return {}
    },
  },
}

for (const [name, { folder, caches }] of Object.entries(drivers)) {
  const { what: program, skip } = await provided(() => goClient(folder))
  for (const [place, { host, session, enter }] of Object.entries(places)) {
    for (const [what, seconds, ms, keys] of [
      ['a session that is about to end is followed by another', 303, 3_500, 2],
      ['a session that is good is used again', 3_600, 800, 1],
    ] as const) {
      t.test(`${name} at ${place}: ${what}`, { skip }, async t => {
        const home = await house(t)
        const endpoints = await credentialEndpoints({ iam: home.aws, host, port: 80, seconds })
        t.teardown(() => endpoints.close())
        const all = await logins(t, home, program as Program, enter(endpoints, home), [ms])
        for (const login of all) t.match(login, { error: undefined, session })
        t.equal(keysOf(all), keys)
        t.equal(endpoints.handedOut().length, caches ? keys : 2, 'so often credentials were asked for')
      })
    }
  }
}
