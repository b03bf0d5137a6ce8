/** A relay between a client and an upstream whose far ends belong to the test. */
import type { Document } from 'bson'
import { Relay, type RelayOptions } from '../../src/client/relay.js'
import type { Fault } from '../../src/errors.js'
import { writeMessage } from '../../src/wire/message.js'
import { createManualClock } from './clock.js'
import { readBufferOf, socketPair } from './sockets.js'

const EMPTY = Buffer.alloc(0)

export async function startRelay(
  t: { teardown(run: () => void): void },
  {
    fromClient = EMPTY,
    fromUpstream = EMPTY,
    answerHello = async () => ({ ok: 1 }),
  }: { fromClient?: Buffer; fromUpstream?: Buffer; answerHello?: RelayOptions['answerHello'] } = {},
) {
  const clock = createManualClock()
  const client = await socketPair(t)
  const upstream = await socketPair(t)
  const refused: string[] = []
  const unexpected: Fault[] = []
  let releases = 0
  const relay = new Relay({
    client: client.near,
    session: {
      socket: upstream.near,
      readBuffer: readBufferOf(upstream.near),
      rest: fromUpstream,
      maxMessageBytes: 48_000_000,
      release: () => void releases++,
    },
    fromClient,
    connectionId: 5,
    answerHello,
    onRefused: name => refused.push(name),
    onUnexpectedReply: fault => unexpected.push(fault),
    nextRequestID: () => 900,
    after: clock.after,
    now: clock.now,
  })
  return {
    clock,
    relay,
    client: client.far,
    upstream: upstream.far,
    /** The relay's ends. */
    clientSocket: client.near,
    upstreamSocket: upstream.near,
    refused,
    /** Replies without a request, while the client left. */
    unexpected,
    countReleases: () => releases,
  }
}

/** A request on the database `app`. */
export const request = (id: number, command: Document, flags = 0) =>
  writeMessage({ ...command, $db: 'app' }, id, 0, flags)
