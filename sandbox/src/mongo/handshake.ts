/** Commands before authentication: hello and its legacy names, ping, buildInfo, whatsmyuri. */
import { calculateObjectSize, type Document, Double, Int32, Long, ObjectId } from 'bson'
import { findMechanisms, saslStart } from './authenticationCommands.js'
import { CommandError } from './commandError.js'
import type { TopologyVersion } from './hello.js'
import { type CommandResult, type Commands, parseNumber, type Request, StreamedReply } from './request.js'

export const VERSION = '7.0.99'
const MAX_METADATA_BYTES = 512

export const handshakeCommands: Commands = {
  hello: { requires: 'nothing', run: hello },
  isMaster: { requires: 'nothing', run: hello },
  ismaster: { requires: 'nothing', run: hello },
  ping: { requires: 'nothing', run: () => ({}) },
  buildInfo: { requires: 'nothing', run: ({ instance }) => buildInfo(instance.ldap) },
  buildinfo: { requires: 'nothing', run: ({ instance }) => buildInfo(instance.ldap) },
  whatsmyuri: { requires: 'nothing', run: ({ session }) => ({ you: session.peer }) },
}

function hello(request: Request): CommandResult {
  const { body, session } = request
  if (body.client !== undefined) {
    if (session.metadata) {
      throw new CommandError('ClientMetadataCannotBeMutated', 'The client metadata document may only be sent once')
    }
    if (calculateObjectSize(body.client) > MAX_METADATA_BYTES) {
      throw new CommandError(
        'ClientMetadataDocumentTooLarge',
        `The client metadata document must be less then or equal to ${MAX_METADATA_BYTES} bytes`,
      )
    }
    session.metadata = body.client
  }
  const { topologyVersion } = body
  const wait = parseNumber(body, 'maxAwaitTimeMS', undefined)
  if ((topologyVersion === undefined) !== (wait === undefined)) {
    throw new CommandError('Location51760', 'hello takes topologyVersion and maxAwaitTimeMS together or neither')
  }
  if (wait === undefined) return greet(request)
  if (!(topologyVersion?.processId instanceof ObjectId) || !Long.isLong(topologyVersion.counter)) {
    throw new CommandError('TypeMismatch', "BSON field 'topologyVersion' is the wrong type")
  }
  return awaited(request, topologyVersion, wait)
}

/** Answers when the topology version changes or after `wait` ms. Continues if the client accepts a stream (exhaustAllowed). */
function awaited(request: Request, known: TopologyVersion, wait: number): CommandResult {
  const { instance, session, exhaust } = request
  const answer = () => {
    const reply = greet(request)
    return exhaust ? new StreamedReply(reply, () => awaited(request, reply.topologyVersion, wait)) : reply
  }
  return instance.member.knows(known) ? instance.member.changed(wait, session.closed).then(answer) : answer()
}

function greet(request: Request): Document {
  const { name, body, session, instance } = request
  const supported = body.saslSupportedMechs === undefined ? undefined : findMechanisms(request, body.saslSupportedMechs)
  const speculated = body.speculativeAuthenticate && speculate(request, body.speculativeAuthenticate)
  return {
    ...(body.helloOk && { helloOk: true }),
    ...instance.member.hello(name !== 'hello', instance.now(), session.id),
    ...(supported && { saslSupportedMechs: supported }),
    ...(speculated && { speculativeAuthenticate: speculated }),
    ok: new Double(1),
  }
}

/** A failed speculation is omitted from the reply. The client then uses saslStart and gets the error. */
function speculate(request: Request, body: Document): Document | undefined {
  if (body.saslStart === undefined) return undefined
  try {
    const { ok: _, ...step } = saslStart(request, String(body.db ?? 'admin'), body)
    return step
  } catch (thrown) {
    if (thrown instanceof CommandError) return undefined
    throw thrown
  }
}

function buildInfo(ldap: string): Document {
  return {
    version: VERSION,
    gitVersion: 'sandbox of mongo-iam-proxy, not a MongoDB',
    ...(ldap === 'percona' && { psmdbVersion: `${VERSION}-1` }),
    modules: ldap === 'enterprise' ? ['enterprise'] : [],
    allocator: 'system',
    javascriptEngine: 'none',
    sysInfo: 'deprecated',
    versionArray: [7, 0, 99, 0].map(part => new Int32(part)),
    openssl: { running: 'none', compiled: 'none' },
    buildEnvironment: {},
    bits: new Int32(64),
    debug: false,
    maxBsonObjectSize: new Int32(16 * 1024 * 1024),
    storageEngines: ['sandbox'],
  }
}
