/** Puts the questions about LDAP to every member of the upstream, with as few rights as they need (R27). */
import { Fault } from '../errors.js'
import type { AdminClient } from '../upstream/admin.js'
import { openChannel } from '../upstream/channel.js'
import { addProxyMetadata } from '../upstream/metadata.js'
import type { Target } from '../upstream/target.js'
import type { Topology } from '../upstream/topology.js'
import { evaluateLdap, type LdapReplies, queryLdapSettings } from './ldap.js'

/** From good to bad: what one member has, all of them are taken to have. */
const WORSE = ['off', 'unknown', 'on'] as const

/**
 * Gives the worst answers of all members. One that is away is passed over as long as another answers, since nobody is
 * relayed to it; when it is back it has to be asked. Throws `upstream/unreachable`, `upstream/protocol-error`, the reason.
 */
export function createLdapProbe(
  topology: Pick<Topology, 'freshView' | 'dataBearingMembers'>,
  admin: AdminClient | undefined,
): (signal: AbortSignal) => Promise<LdapReplies> {
  return async signal => {
    const { isReplicaSet: set } = await topology.freshView(signal) // so that the members are known
    const ask = async ({ target }: { target: Target }): Promise<LdapReplies> => {
      if (!set || !admin) return askMember(target, admin, signal)
      const there = admin.forMember(target.address)
      return askMember(target, there, signal).finally(() => there.close())
    }
    const present = topology.dataBearingMembers().filter(({ isReachable }) => isReachable)
    const all = await Promise.all(present.map(ask))
    const rank = (one: LdapReplies) => WORSE.indexOf(evaluateLdap(one).state)
    const [worst] = all.sort((a, b) => rank(b) - rank(a))
    if (!worst) throw new Fault('upstream/unreachable')
    return worst
  }
}

/**
 * buildInfo goes over a connection that never logs in, so that an edition without LDAP is known without anybody's
 * rights; the rest through the administrator, or over the same connection, which suffices without access control.
 */
async function askMember(target: Target, admin: AdminClient | undefined, signal: AbortSignal): Promise<LdapReplies> {
  const channel = await openChannel(target, signal)
  try {
    const plain = (command: object) => channel.request({ ...command, $db: 'admin' }, signal)
    await plain({ hello: 1, client: addProxyMetadata(undefined) })
    const buildInfo = await plain({ buildInfo: 1 })
    const known = { buildInfo, options: undefined, parameters: undefined }
    if (admin) return { ...(await queryLdapSettings(command => admin.runCommand(command))), buildInfo }
    return evaluateLdap(known).state === 'off' ? known : await queryLdapSettings(plain)
  } finally {
    channel.destroy()
  }
}
