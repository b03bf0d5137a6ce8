/** Queries every member of the upstream for LDAP authorization, with as few privileges as possible. */
import { Fault } from '../errors.js'
import type { AdminClient } from '../upstream/admin.js'
import { openChannel } from '../upstream/channel.js'
import { PROXY_METADATA } from '../upstream/metadata.js'
import type { Target } from '../upstream/target.js'
import type { Topology } from '../upstream/topology.js'
import { evaluateLdap, type LdapReplies, queryLdapSettings } from './ldap.js'

/** From best to worst. The worst member decides for the upstream. */
const SEVERITY = ['off', 'unknown', 'on'] as const

/**
 * The probe resolves to the replies of the worst member. It skips unreachable members as long as one member answers, since
 * no client is relayed to them; when such a member returns, the guard probes again. Rejects with `upstream/unreachable`,
 * `upstream/protocol-error`, or the reason of the signal.
 */
export function createLdapProbe(
  topology: Pick<Topology, 'freshView' | 'dataBearingMembers'>,
  admin: AdminClient | undefined,
): (signal: AbortSignal) => Promise<LdapReplies> {
  return async signal => {
    const { isReplicaSet } = await topology.freshView(signal) // discovers the members
    const query = async ({ target }: { target: Target }): Promise<LdapReplies> => {
      if (!isReplicaSet || !admin) return queryMember(target, admin, signal)
      const memberAdmin = admin.forMember(target.address)
      return queryMember(target, memberAdmin, signal).finally(() => memberAdmin.close())
    }
    const members = topology.dataBearingMembers().filter(({ isReachable }) => isReachable)
    const replies = await Promise.all(members.map(query))
    const severityOf = (one: LdapReplies) => SEVERITY.indexOf(evaluateLdap(one).state)
    const [worst] = replies.sort((a, b) => severityOf(b) - severityOf(a))
    if (!worst) throw new Fault('upstream/unreachable')
    return worst
  }
}

/**
 * Sends buildInfo on a connection without a login, so that an edition without LDAP is recognized without privileges. Sends
 * the other commands as the administrator. Without an administrator it sends them on the same connection, which works if
 * access control is off.
 */
async function queryMember(target: Target, admin: AdminClient | undefined, signal: AbortSignal): Promise<LdapReplies> {
  const channel = await openChannel(target, signal)
  try {
    const runCommand = (command: object) => channel.request({ ...command, $db: 'admin' }, signal)
    await runCommand({ hello: 1, client: PROXY_METADATA })
    const buildInfo = await runCommand({ buildInfo: 1 })
    if (admin) return { ...(await queryLdapSettings(command => admin.runCommand(command))), buildInfo }
    const replies = { buildInfo, options: undefined, parameters: undefined }
    return evaluateLdap(replies).state === 'off' ? replies : await queryLdapSettings(runCommand)
  } finally {
    channel.destroy()
  }
}
