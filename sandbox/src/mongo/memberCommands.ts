/** Commands on a member of a replica set: the state of the member, sessions and transactions, and further reply fields. */
import { Binary, type Document, Int32, Long } from 'bson'
import { CommandError, toCode } from './commandError.js'
import { assertMayRun, isWriteCommand } from './memberState.js'
import { type CommandResult, type Reply, type Request, StreamedReply } from './request.js'

type Run = (request: Request) => CommandResult

/** Runs a command. Throws if the state of the member or of the session forbids it. */
export function runOnReplicaSetMember(request: Request, run: Run): CommandResult {
  const { name, body, instance } = request
  const { replica } = instance
  if (!replica) return run(request)
  assertMayRun(replica.set.state(replica.id), name, body)
  const inside = body.autocommit === false && !ends.has(name)
  const answer = inSession(request, replica.set.sessions, run)
  if (inside || !isWriteCommand(name)) return answer
  replica.set.tick()
  const { w } = body.writeConcern ?? {}
  const acknowledged = w !== undefined && Number(w) <= 1 ? true : replica.set.acknowledged()
  if (acknowledged === true) return answer
  return Promise.all([answer, acknowledged]).then(([reply, whether]) =>
    whether || reply instanceof StreamedReply ? reply : { ...reply, writeConcernError: interrupted() },
  )
}

const ends = new Set(['commitTransaction', 'abortTransaction'])
const retryable = new Set(['insert', 'update', 'delete', 'findAndModify', 'findandmodify'])
const transactional = new Set([...retryable, 'find', 'getMore', 'killCursors', 'aggregate', 'distinct'])
/** Transactions cannot write to these databases. */
const internalDatabases = new Set(['admin', 'config', 'local'])

type Sessions = NonNullable<Request['instance']['replica']>['set']['sessions']

function inSession(request: Request, sessions: Sessions, run: Run): CommandResult {
  const { name, body } = request
  const { txnNumber, autocommit, startTransaction } = body
  if (autocommit === undefined && body.readConcern?.level === 'snapshot') {
    throw new CommandError('IllegalOperation', 'snapshot reads outside of transactions are not part of this sandbox')
  }
  if (txnNumber === undefined && autocommit === undefined && startTransaction === undefined) return run(request)
  const { key, number } = parseSession(request)
  if (autocommit === undefined) {
    assertRetryable(name, body)
    return run({ ...request, statements: sessions.statements(key, number) })
  }
  if (autocommit !== false) throw new CommandError('InvalidOptions', 'Specifying autocommit=true is not allowed.')
  return ends.has(name) ? run(request) : inTransaction(request, sessions, run)
}

/** As in mongod, any error aborts the transaction. */
function inTransaction(request: Request, sessions: Sessions, run: Run): CommandResult {
  const { name, db, body, instance } = request
  const { key, number } = parseSession(request)
  try {
    if (!transactional.has(name)) throw unsupported(`Cannot run '${name}' in a multi-document transaction.`)
    if (internalDatabases.has(db) && isWriteCommand(name))
      throw unsupported(`Cannot run command against the '${db}' database in a transaction.`)
    const store = body.startTransaction === true ? sessions.start(key, number) : sessions.open(key, number)
    const answer = run({ ...request, instance: { ...instance, store } })
    store.assertNoConflict()
    if ('writeErrors' in answer) sessions.discard(key, number)
    return answer
  } catch (thrown) {
    sessions.discard(key, number)
    throw thrown
  }
}

/** The session key and the transaction number of a command. Throws InvalidOptions, TypeMismatch. */
export function parseSession(request: Request): { key: string; number: bigint } {
  const { lsid, txnNumber } = request.body
  if (lsid === undefined || txnNumber === undefined) {
    throw new CommandError('InvalidOptions', 'A transaction needs a session ID and a transaction number')
  }
  if (!Long.isLong(txnNumber)) throw new CommandError('TypeMismatch', "BSON field 'txnNumber' is the wrong type")
  return { key: toSessionKey(request, lsid), number: txnNumber.toBigInt() }
}

/** Sessions of different users are different. Throws TypeMismatch. */
export function toSessionKey({ session }: Request, lsid: Document): string {
  if (!(lsid?.id instanceof Binary)) throw new CommandError('TypeMismatch', "BSON field 'lsid.id' is the wrong type")
  return `${lsid.id.toString('hex')} ${session.user?.owner ?? ''}`
}

function assertRetryable(name: string, body: Document): void {
  if (!retryable.has(name)) {
    const message = `txnNumber may only be provided for retryable write commands and transactions. ${name} is neither.`
    throw new CommandError('NotARetryableWriteCommand', message)
  }
  const many = [...(body.updates ?? []), ...(body.deletes ?? [])]
  if (many.some(({ multi, limit }) => multi || (limit !== undefined && Number(limit) === 0))) {
    throw new CommandError('InvalidOptions', 'Cannot use retryable writes with multi=true or limit=0')
  }
}

const unsupported = (message: string) => new CommandError('OperationNotSupportedInTransaction', message)

function interrupted(): Document {
  const codeName = 'InterruptedDueToReplStateChange'
  return { code: new Int32(toCode(codeName)), codeName, errmsg: 'operation was interrupted' }
}

/**
 * Adds the cluster time to a reply, and labels and the topology version to an error. Errors of a fail point come without
 * the topology version: the state has not changed, and drivers ignore an error whose version they know.
 */
export function addReplicaSetFields(request: Request, answer: CommandResult, byFailPoint: boolean): CommandResult {
  if (answer instanceof Promise) return answer.then(one => addReplicaSetFields(request, one, byFailPoint))
  if (answer instanceof StreamedReply) {
    return new StreamedReply(addFields(request, answer.reply, byFailPoint), () =>
      addReplicaSetFields(request, answer.next(), byFailPoint),
    )
  }
  return addFields(request, answer, byFailPoint)
}

function addFields(request: Request, reply: Reply, byFailPoint: boolean): Reply {
  const { replica, member } = request.instance
  if (!replica) return reply
  const { document, elements } = replica.set.gossip()
  if (reply instanceof Uint8Array) {
    const longer = Buffer.concat([reply.subarray(0, -1), elements])
    longer.writeInt32LE(longer.length, 0)
    return longer
  }
  const { code = reply.writeConcernError?.code, errorLabels } = reply
  if (code === undefined) return { ...reply, ...document }
  const labels = errorLabels ?? labelsOf(request, Number(code), reply.writeConcernError !== undefined)
  return {
    ...reply,
    ...(labels.length > 0 && { errorLabels: labels }),
    ...(!byFailPoint && stateChanges.has(Number(code)) && { topologyVersion: member.topologyVersion }),
    ...document,
  }
}

/** NotWritablePrimary, InterruptedDueToReplStateChange, NotPrimaryNoSecondaryOk, NotPrimaryOrSecondary. */
const stateChanges = new Set([10107, 11602, 13435, 13436])

/** https://github.com/mongodb/specifications/blob/master/source/transactions/transactions.md#error-labels */
function labelsOf({ name, body }: Request, code: number, written: boolean): string[] {
  if (body.txnNumber === undefined) return []
  if (body.autocommit === undefined || ends.has(name)) {
    if (retryableCodes.has(code)) return ['RetryableWriteError']
    return ends.has(name) && !written && transient.has(code) ? ['TransientTransactionError'] : []
  }
  return retryableCodes.has(code) || transient.has(code) ? ['TransientTransactionError'] : []
}

/** https://github.com/mongodb/specifications/blob/master/source/retryable-writes/retryable-writes.md#determining-retryable-errors */
const retryableCodes = new Set(
  (
    [
      'HostUnreachable',
      'HostNotFound',
      'NetworkTimeout',
      'ShutdownInProgress',
      'PrimarySteppedDown',
      'ExceededTimeLimit',
      'SocketException',
      'NotWritablePrimary',
      'InterruptedAtShutdown',
      'InterruptedDueToReplStateChange',
      'NotPrimaryNoSecondaryOk',
      'NotPrimaryOrSecondary',
    ] as const
  ).map(toCode),
)
const transient = new Set((['NoSuchTransaction', 'WriteConflict'] as const).map(toCode))
