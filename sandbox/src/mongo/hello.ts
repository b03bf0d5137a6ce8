/**
 * The hello reply of a server, and the clients that await a change of it (awaitable hello).
 * https://github.com/mongodb/specifications/blob/master/source/server-discovery-and-monitoring/server-monitoring.md
 */
import { type Document, Int32, Long, ObjectId } from 'bson'

/** Limits in hello. The connection enforces the message size. */
export const MAX_MESSAGE = 48_000_000
const MAX_DOCUMENT = 16 * 1024 * 1024
const MAX_BATCH = 100_000
/** MongoDB 7.0. */
export const MAX_WIRE_VERSION = 21

export type TopologyVersion = { processId: ObjectId; counter: Long }

/** The hello state of one server. A member of a replica set supplies other `fields` than a standalone. */
export class Member {
  readonly processId: ObjectId
  readonly #waiting = new Set<() => void>()
  #counter = 0n
  #fields: () => Document

  constructor(random: (size: number) => Buffer, fields: () => Document = () => ({})) {
    this.processId = new ObjectId(random(12))
    this.#fields = fields
  }

  /** Increments the topology version and answers awaiting clients. `fields` replaces the previous ones. */
  change(fields: () => Document = this.#fields): void {
    this.#fields = fields
    this.#counter++
    const waiting = [...this.#waiting]
    this.#waiting.clear()
    for (const wake of waiting) wake()
  }

  get topologyVersion(): TopologyVersion {
    return { processId: this.processId, counter: Long.fromBigInt(this.#counter) }
  }

  /** The reply to `hello` or, with `legacy`, to isMaster. `now` is in ms. */
  hello(legacy: boolean, now: number, connectionId: number): Document {
    const { isWritablePrimary = true, ...fields } = this.#fields()
    return {
      [legacy ? 'ismaster' : 'isWritablePrimary']: isWritablePrimary,
      ...fields,
      topologyVersion: this.topologyVersion,
      maxBsonObjectSize: new Int32(MAX_DOCUMENT),
      maxMessageSizeBytes: new Int32(MAX_MESSAGE),
      maxWriteBatchSize: new Int32(MAX_BATCH),
      localTime: new Date(now),
      logicalSessionTimeoutMinutes: new Int32(30),
      connectionId: new Int32(connectionId),
      minWireVersion: new Int32(0),
      maxWireVersion: new Int32(MAX_WIRE_VERSION),
      readOnly: false,
    }
  }

  /** Whether this topology version is current. */
  knows({ processId, counter }: TopologyVersion): boolean {
    return this.processId.equals(processId) && counter.toBigInt() >= this.#counter
  }

  /** Resolves at the next change, after `ms`, or when `signal` aborts. */
  changed(ms: number, signal: AbortSignal): Promise<void> {
    return new Promise(resolve => {
      const done = () => {
        clearTimeout(timer)
        this.#waiting.delete(done)
        signal.removeEventListener('abort', done)
        resolve()
      }
      const timer = setTimeout(done, ms)
      timer.unref()
      this.#waiting.add(done)
      signal.addEventListener('abort', done)
    })
  }
}
