/** Puts the questions about LDAP to an upstream, with as few rights as they need. */
import type { Admin } from '../upstream/admin.js'
import { connect } from '../upstream/channel.js'
import { withProxy } from '../upstream/metadata.js'
import type { Target } from '../upstream/target.js'
import { type Answers, askLdap, judgeLdap } from './ldap.js'

/**
 * buildInfo goes over a connection that never logs in, so that an edition without LDAP is known without anybody's
 * rights; the rest through the administrator, or over the same connection, which suffices without access control.
 * Throws `upstream/away`, `upstream/malformed`, the signal's reason.
 */
export function ldapProbe(target: Target, admin: Admin | undefined): (signal: AbortSignal) => Promise<Answers> {
  return async signal => {
    const channel = await connect(target, signal)
    try {
      const plain = (command: object) => channel.request({ ...command, $db: 'admin' }, signal)
      await plain({ hello: 1, client: withProxy(undefined) })
      const buildInfo = await plain({ buildInfo: 1 })
      const known = { buildInfo, options: undefined, parameters: undefined }
      if (admin) return { ...(await askLdap(command => admin.run(command))), buildInfo }
      return judgeLdap(known).state === 'off' ? known : await askLdap(plain)
    } finally {
      channel.destroy()
    }
  }
}
