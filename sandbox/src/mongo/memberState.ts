/** The commands that a member accepts in each state, as in mongod. */
import type { Document } from 'bson'
import { CommandError } from './commandError.js'

export type MemberState = 'PRIMARY' | 'SECONDARY' | 'REMOVED'

const words = (text: string): string[] => text.split(/\s+/)

/** Commands that any running member accepts. */
const anywhere = new Set(
  words(`hello isMaster ismaster ping buildInfo buildinfo whatsmyuri saslStart saslContinue authenticate logout
    connectionStatus startSession endSessions refreshSessions killSessions killAllSessions getMore killCursors
    serverStatus hostInfo getLog getCmdLineOpts getParameter setParameter currentOp killOp top connPoolStats
    getFreeMonitoringStatus replSetGetStatus replSetGetConfig replSetStepDown getDefaultRWConcern profile shutdown
    listCommands invalidateUserCache configureFailPoint`),
)
/** Reads, which a secondary accepts if the client permits it. */
const opted = new Set(
  words(`find count distinct aggregate explain listCollections listDatabases listIndexes collStats dbStats dataSize
    validate usersInfo rolesInfo`),
)

/** Every command in neither list is a write. */
export const isWriteCommand = (name: string): boolean => !anywhere.has(name) && !opted.has(name)

/** Throws NotWritablePrimary, NotPrimaryNoSecondaryOk, NotPrimaryOrSecondary. */
export function assertMayRun(state: MemberState, name: string, body: Document): void {
  if (state === 'PRIMARY' || anywhere.has(name)) return
  // Transactions, including their reads, run on the primary.
  if (!opted.has(name) || body.autocommit === false) throw new CommandError('NotWritablePrimary', 'not primary')
  if (state === 'REMOVED') throw new CommandError('NotPrimaryOrSecondary', 'node is not in primary or secondary state')
  if ((body.$readPreference?.mode ?? 'primary') === 'primary') {
    throw new CommandError('NotPrimaryNoSecondaryOk', 'not primary and secondaryOk=false')
  }
}
