/**
 * Answers hello from the hello of the upstream, edited to describe the proxy. In front of a replica set, clients see a set
 * of one member at the advertised address.
 */
import type { Socket } from 'node:net'
import type { Document } from 'bson'
import type { HelloRequest } from '../client/handshake.js'
import { isWildcard } from '../config/hosts.js'
import type { Config } from '../config/load.js'
import type { Log } from '../log.js'
import { formatAddress } from '../upstream/address.js'
import { type ClientSocketInfo, createAddressAdvertiser } from '../upstream/advertisedAddress.js'
import { buildHelloReply, presentAsSingleMemberSet } from '../upstream/helloReply.js'
import type { Topology } from '../upstream/topology.js'
import type { TopologyView } from '../upstream/topologyView.js'

/**
 * A warning if clients learn addresses of members from this hello, because the proxy passes it on as that of a single server.
 * Drivers connect to the addresses in a hello, unless `directConnection` is set on their own side.
 */
export function findExposedMembers(
  { hello, isReplicaSet }: TopologyView,
  { advertise }: Config['listen'],
): string | undefined {
  const { hosts = [], passives = [] } = hello
  const advertised = advertise && formatAddress(advertise)
  if (isReplicaSet || ![hosts, passives].flat().some(address => address !== advertised)) return undefined
  return 'upstream.uri names one server (directConnection=true or upstream.topology: single), and this server belongs to a replica set. Its hello has the addresses of the members, so clients without directConnection=true connect to these, past the proxy. Remove that setting, or set directConnection=true in all clients'
}

export type HelloResponderOptions = {
  config: Pick<Config, 'listen' | 'tls'>
  topology: Pick<Topology, 'freshView' | 'awaitChange'>
  log: Log
}

export class HelloResponder {
  readonly #listen: Config['listen']
  readonly #topology: HelloResponderOptions['topology']
  readonly #log: Log
  #getAddress: (client: ClientSocketInfo) => string
  #isWarned = false

  constructor({ config, topology, log }: HelloResponderOptions) {
    this.#listen = config.listen
    this.#topology = topology
    this.#log = log
    this.#getAddress = this.#createAdvertiser(config.tls?.cert)
  }

  /** From now on, a server name in TLS is advertised if this certificate (PEM) covers it. */
  useCertificate(cert: string | undefined): void {
    this.#getAddress = this.#createAdvertiser(cert)
  }

  /**
   * The reply to a hello that arrived on this socket. A plain hello gets a view that is fetched after its arrival; an
   * awaitable one waits for a change. Throws `upstream/unreachable`, and the reason of the signal.
   */
  async answer(request: HelloRequest, connectionId: number, signal: AbortSignal, client: Socket): Promise<Document> {
    const { awaiting } = request
    const view = awaiting
      ? await this.#topology.awaitChange(awaiting.topologyVersion, awaiting.maxAwaitTimeMS, signal)
      : await this.#topology.freshView(signal)
    const fields = { connectionId, now: new Date() }
    const { hello, isPrimary, isReplicaSet } = view
    this.#warnOnce(view)
    if (!isReplicaSet) return buildHelloReply(hello, request, fields)
    const advertised = presentAsSingleMemberSet(hello, { address: this.#getAddress(client), primary: isPrimary })
    return buildHelloReply(advertised, request, fields)
  }

  #createAdvertiser(cert: string | undefined): (client: ClientSocketInfo) => string {
    const { advertise, host } = this.#listen
    return createAddressAdvertiser({ advertise, host: isWildcard(host) ? undefined : host, cert })
  }

  /** A single seed does not show at the start whether its server belongs to a replica set, so no problem is reported then. */
  #warnOnce(view: TopologyView): void {
    if (this.#isWarned) return
    const exposed = findExposedMembers(view, this.#listen)
    const { advertise, host } = this.#listen
    const isMissing = view.isReplicaSet && advertise === undefined && isWildcard(host)
    this.#isWarned = exposed !== undefined || isMissing
    if (exposed !== undefined) this.#log('warn', 'upstream members exposed', { warning: exposed })
    if (!isMissing) return
    const warning =
      'listen.advertise is not set in front of a replica set, so hello reports the address that each client connected to'
    this.#log('warn', 'advertised address missing', { warning })
  }
}
