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
import { type ClientSocketInfo, createAddressAdvertiser } from '../upstream/advertisedAddress.js'
import { buildHelloReply, presentAsSingleMemberSet } from '../upstream/helloReply.js'
import type { Topology } from '../upstream/topology.js'

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
    const { hello, isPrimary, isReplicaSet } = awaiting
      ? await this.#topology.awaitChange(awaiting.topologyVersion, awaiting.maxAwaitTimeMS, signal)
      : await this.#topology.freshView(signal)
    const fields = { connectionId, now: new Date() }
    if (!isReplicaSet) return buildHelloReply(hello, request, fields)
    this.#warnOnce()
    const advertised = presentAsSingleMemberSet(hello, { address: this.#getAddress(client), primary: isPrimary })
    return buildHelloReply(advertised, request, fields)
  }

  #createAdvertiser(cert: string | undefined): (client: ClientSocketInfo) => string {
    const { advertise, host } = this.#listen
    return createAddressAdvertiser({ advertise, host: isWildcard(host) ? undefined : host, cert })
  }

  /** A single seed does not show at the start whether its server belongs to a replica set, so no problem is reported then. */
  #warnOnce(): void {
    const { advertise, host } = this.#listen
    if (this.#isWarned || advertise !== undefined || !isWildcard(host)) return
    this.#isWarned = true
    const warning =
      'listen.advertise is not set in front of a replica set, so hello reports the address that each client connected to'
    this.#log('warn', 'advertised address missing', { warning })
  }
}
