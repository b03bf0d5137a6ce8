/** Putting the LDAP questions: through the administrator where there is one, else the one that needs no login. */
import type { Admin } from '../upstream/admin.js'
import { connect } from '../upstream/channel.js'
import { withProxy } from '../upstream/metadata.js'
import type { Target } from '../upstream/target.js'
import { type Answers, askLdap } from './ldap.js'

/** Throws `upstream/away`, `upstream/malformed`, or the signal's reason. */
export function ldapQuestions(target: Target, admin: Admin | undefined): (signal: AbortSignal) => Promise<Answers> {
  if (admin) return () => askLdap(command => admin.run(command))
  return async signal => {
    const channel = await connect(target, signal)
    try {
      await channel.request({ hello: 1, client: withProxy(undefined), $db: 'admin' }, signal)
      const buildInfo = await channel.request({ buildInfo: 1, $db: 'admin' }, signal)
      return { buildInfo, options: undefined, parameters: undefined }
    } finally {
      channel.destroy()
    }
  }
}
