/** Whether a configuration would work: everything that the proxy depends on is tried once, whatever the others gave. */
import { randomBytes } from 'node:crypto'
import type { Config } from './config/load.js'
import { Fault } from './errors.js'
import { stsClient } from './identity/sts.js'
import { compile } from './proxy.js'
import { admin as administrator } from './upstream/admin.js'
import { connect } from './upstream/channel.js'
import { dial } from './upstream/dial.js'
import { keyRing } from './upstream/keys.js'
import { NAME, VERSION, withProxy } from './upstream/metadata.js'
import { accepted } from './upstream/reply.js'
import type { Target } from './upstream/target.js'
import { judgeLdap } from './users/ldap.js'
import { ldapProbe } from './users/ldapProbe.js'

export type Finding = { fine: boolean; text: string }

/** How long each thing that is tried may take, in milliseconds. */
const PATIENCE_MS = 5_000

/** What was tried and what came of it, in the order of the configuration. Throws `config/invalid`. */
export async function check(config: Config): Promise<Finding[]> {
  const { target, problems } = compile(config)
  if (!target || problems.length > 0) throw new Fault('config/invalid', problems.join('\n'), { problems })
  const findings: Finding[] = config.warnings.map(text => ({ fine: true, text: `warning: ${text}` }))
  findings.push(await tried(`upstream ${target.address}`, signal => greet(target, signal)))
  findings.push(await tried('LDAP authorization', signal => askAboutLdap(config, target, signal)))
  for (const { arn, user } of config.users) {
    findings.push(await tried(`user ${user} (${arn})`, signal => logIn(config, target, arn, signal)))
  }
  findings.push(...(await reachSts(config)))
  return findings
}

/** Tries one thing; what it gives is told, what it throws is the finding. */
async function tried(what: string, run: (signal: AbortSignal) => Promise<string>): Promise<Finding> {
  try {
    return { fine: true, text: `${what}: ${await run(AbortSignal.timeout(PATIENCE_MS))}` }
  } catch (thrown) {
    if (thrown instanceof DOMException) return { fine: false, text: `${what}: no answer within ${PATIENCE_MS} ms` }
    const { message, facts, row } = Fault.from(thrown)
    const known = Object.entries(facts).map(([name, value]) => `${name} ${value}`)
    return { fine: false, text: `${what}: ${[message, ...known].join(', ')}. ${row.todo}` }
  }
}

async function greet(target: Target, signal: AbortSignal): Promise<string> {
  const channel = await connect(target, signal)
  try {
    const hello = accepted(
      await channel.request({ hello: 1, client: withProxy(undefined), $db: 'admin' }, signal),
      target.address,
    )
    const { version } = await channel.request({ buildInfo: 1, $db: 'admin' }, signal)
    const set = typeof hello.setName === 'string' ? `, member of ${hello.setName}` : ''
    return `answers, version ${version}${set}`
  } finally {
    channel.destroy()
  }
}

async function askAboutLdap({ upstream, ldap }: Config, target: Target, signal: AbortSignal): Promise<string> {
  const superuser = upstream.admin && administrator(upstream.admin)
  try {
    const { state, why } = judgeLdap(await ldapProbe(target, superuser)(signal))
    if (state === 'unknown' && ldap.assume === 'off') return `assumed to be off (${why})`
    if (state !== 'off') throw new Fault(`ldap/${state}`, why)
    return `off: ${why}`
  } finally {
    await superuser?.close()
  }
}

async function logIn(config: Config, target: Target, arn: string, signal: AbortSignal): Promise<string> {
  const rule = config.users.find(user => user.arn === arn)
  if (!rule) throw new Fault('internal')
  const at = rule.user.lastIndexOf('@')
  const [name, db] = at < 0 ? [rule.user, 'admin'] : [rule.user.slice(0, at), rule.user.slice(at + 1)]
  const user = { name, db, password: rule.password }
  const keys = keyRing({ entries: 1 })
  const { socket } = await dial({ target, user, metadata: undefined, keys, random: randomBytes, signal })
  socket.destroy()
  return 'logs in'
}

async function reachSts({ sts: { hosts, insecure } }: Config): Promise<Finding[]> {
  const client = stsClient({
    hosts: hosts.map(host => ({ ...host, insecure })),
    timeoutMS: PATIENCE_MS,
    userAgent: `${NAME}/${VERSION}`,
    now: Date.now,
  })
  const findings = hosts.map(async ({ host }): Promise<Finding> => {
    const why = await client.reach(host, AbortSignal.timeout(PATIENCE_MS))
    const clock = Math.round(client.skewMS() / 1000)
    if (why !== undefined) return { fine: false, text: `STS ${host}: ${why}` }
    return { fine: true, text: `STS ${host}: answers${clock === 0 ? '' : `, its clock is ${clock} s ahead of ours`}` }
  })
  try {
    return await Promise.all(findings)
  } finally {
    await client.close()
  }
}
