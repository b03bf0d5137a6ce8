/** Checks LDAP authorization at the upstream, and keeps the buildInfo that the same probe reads. */
import { calculateObjectSize, type Document } from 'bson'
import type { AuditTrail } from '../audit/trail.js'
import { after } from '../clock.js'
import type { Config } from '../config/load.js'
import { LdapGuard } from '../ldap/guard.js'
import { createLdapProbe } from '../ldap/probe.js'
import type { Log } from '../log.js'
import type { AdminClient } from '../upstream/admin.js'
import type { Channel } from '../upstream/channel.js'
import type { Topology } from '../upstream/topology.js'
import { readTopologyVersion } from '../upstream/topologyVersion.js'

export type LdapChecksOptions = {
  /** The running configuration, which a reload changes. */
  config(): Config
  topology: Topology
  adminClient: AdminClient | undefined
  record: AuditTrail['record']
  log: Log
}

/** Unauthenticated clients may request buildInfo, so a hostile upstream must not make it large. Bytes. */
const MAX_BUILD_INFO_BYTES = 16_384

export class LdapChecks {
  readonly guard: LdapGuard
  readonly #topology: Topology
  #buildInfo: Document | undefined

  constructor({ config, topology, adminClient, record, log }: LdapChecksOptions) {
    const probe = createLdapProbe(topology, adminClient)
    this.#topology = topology
    this.guard = new LdapGuard({
      probe: async signal => {
        const replies = await probe(signal)
        if (isPresentable(replies.buildInfo)) this.#buildInfo = replies.buildInfo
        return replies
      },
      intervalMS: config().ldap.every,
      get assume() {
        return config().ldap.assume
      },
      log,
      record,
      after,
    })
  }

  /** The last buildInfo of the upstream that clients may see. */
  get buildInfo(): Document | undefined {
    return this.#buildInfo
  }

  /**
   * Asserts that LDAP is off in the process behind a new connection. A process that the monitors have not seen yet may have
   * LDAP on, whatever the process before it answered.
   */
  assertOffOver(channel: Channel, hello: Document, signal: AbortSignal): Promise<void> {
    if (isAnotherProcess(this.#topology.currentView()?.hello, hello)) void this.guard.recheck()
    return this.guard.assertOffOver(command => channel.request({ ...command, $db: 'admin' }, signal))
  }
}

/** True if both name their process and the processes differ. */
function isAnotherProcess(known: Document | undefined, current: Document): boolean {
  const [before, after] = [known && readTopologyVersion(known), readTopologyVersion(current)]
  return before !== undefined && after !== undefined && !before.processId.equals(after.processId)
}

function isPresentable(buildInfo: Document | undefined): buildInfo is Document {
  if (buildInfo === undefined || Number(buildInfo.ok) !== 1) return false
  return calculateObjectSize(buildInfo) <= MAX_BUILD_INFO_BYTES
}
