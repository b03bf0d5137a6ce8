/** The command configureFailPoint, and what the fail point does to other commands. */
import { setTimeout as sleep } from 'node:timers/promises'
import { Double, Int32 } from 'bson'
import { SandboxError } from '../errors.js'
import { CommandError, toCodeName } from './commandError.js'
import type { Failure } from './failPoint.js'
import { type CommandResult, type Commands, onCluster, type Reply, type Request, StreamedReply } from './request.js'
import { toInteger } from './statistics.js'

/** Applies a failure to a command. Throws `connectionClosed`, which closes the connection. */
export function applyFailure(failure: Failure, request: Request, run: () => CommandResult): CommandResult {
  const { blockTimeMS, ...rest } = failure
  if (blockTimeMS === undefined) return applyWithoutDelay(rest, request, run)
  const { closed } = request.session
  return sleep(blockTimeMS, undefined, { signal: closed, ref: false }).then(
    () => applyWithoutDelay(rest, request, run),
    () => ({}), // the client has left, so nothing is sent
  )
}

function applyWithoutDelay(failure: Failure, { name }: Request, run: () => CommandResult): CommandResult {
  const { closeConnection, errorCode, writeConcernError, errorLabels } = failure
  if (closeConnection) throw new SandboxError('connectionClosed', `failCommand closes the connection at ${name}`)
  const labels = errorLabels && { errorLabels }
  if (errorCode !== undefined) {
    const errmsg = "Failing command via 'failCommand' failpoint"
    return { ok: new Double(0), errmsg, code: new Int32(errorCode), codeName: toCodeName(errorCode), ...labels }
  }
  if (writeConcernError === undefined) return run()
  const add = (reply: Reply | StreamedReply) =>
    reply instanceof Uint8Array || reply instanceof StreamedReply ? reply : { ...reply, writeConcernError, ...labels }
  const answer = run()
  return answer instanceof Promise ? answer.then(add) : add(answer)
}

/** mongod asks for no privilege, since it has fail points only after `enableTestCommands`. Here they are always there. */
export const failPointCommands: Commands = {
  configureFailPoint: {
    adminOnly: true,
    requires: onCluster('setParameter'),
    run({ body, instance }) {
      if (body.configureFailPoint !== 'failCommand') {
        throw new CommandError('FailPointSetFailed', `the sandbox has no fail point '${body.configureFailPoint}'`)
      }
      return { count: toInteger(instance.failPoint.configure(body)) }
    },
  },
}
