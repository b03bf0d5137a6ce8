/** Commands about the replica set: status, configuration, step-down. */
import { type Document, Double, Int32, Long } from 'bson'
import { CommandError } from './commandError.js'
import { type Commands, onCluster, type Request } from './request.js'
import { toInteger } from './statistics.js'

export const replicationCommands: Commands = {
  replSetGetStatus: { adminOnly: true, requires: onCluster('replSetGetStatus'), run: status },
  replSetGetConfig: { adminOnly: true, requires: onCluster('replSetGetConfig'), run: configuration },
  replSetStepDown: { adminOnly: true, requires: onCluster('replSetStateChange'), run: stepDown },
  getDefaultRWConcern: { adminOnly: true, requires: onCluster('getDefaultRWConcern'), run: defaults },
}

/** Throws NoReplicationEnabled. */
function replicaOf({ instance }: Request): NonNullable<Request['instance']['replica']> {
  if (instance.replica) return instance.replica
  throw new CommandError('NoReplicationEnabled', 'not running with --replSet')
}

function stepDown(request: Request): Document {
  const { set, id } = replicaOf(request)
  if (set.primary !== id) throw new CommandError('NotWritablePrimary', 'not primary so can not step down')
  set.stepDown()
  return {}
}

function defaults(request: Request): Document {
  replicaOf(request)
  return {
    defaultReadConcern: { level: 'local' },
    defaultWriteConcern: { w: 'majority', wtimeout: toInteger(0) },
    defaultWriteConcernSource: 'implicit',
    defaultReadConcernSource: 'implicit',
  }
}

const numbers = { PRIMARY: 1, SECONDARY: 2, DOWN: 8, REMOVED: 10 }

function status(request: Request): Document {
  const { set, id } = replicaOf(request)
  const { now, started } = request.instance
  const { opTime, members: configs, term, version, name } = set
  const majority = toInteger(Math.floor(configs.length / 2) + 1)
  const members = configs.map(config => {
    const state = set.isUp(config.id) ? set.state(config.id) : 'DOWN'
    return {
      _id: new Int32(config.id),
      name: config.host,
      health: new Double(state === 'DOWN' ? 0 : 1),
      state: new Int32(numbers[state]),
      stateStr: state === 'DOWN' ? '(not reachable/healthy)' : state,
      uptime: toInteger(Math.floor((now() - started) / 1000)),
      optime: opTime,
      optimeDate: new Date(set.written),
      ...(state === 'PRIMARY' && { electionDate: new Date(set.electedAt) }),
      configVersion: new Int32(version),
      configTerm: new Int32(term),
      ...(config.id === id && { self: true }),
    }
  })
  return {
    set: name,
    date: new Date(now()),
    myState: new Int32(numbers[set.state(id)]),
    term: Long.fromNumber(term),
    heartbeatIntervalMillis: Long.fromNumber(2000),
    majorityVoteCount: majority,
    writeMajorityCount: majority,
    votingMembersCount: toInteger(configs.length),
    writableVotingMembersCount: toInteger(configs.length),
    optimes: { lastCommittedOpTime: opTime, appliedOpTime: opTime, durableOpTime: opTime },
    members,
  }
}

function configuration(request: Request): Document {
  const { set } = replicaOf(request)
  const members = set.members.map(({ id, host, priority, hidden, tags }) => ({
    _id: new Int32(id),
    host,
    arbiterOnly: false,
    buildIndexes: true,
    hidden,
    priority: new Double(priority),
    tags,
    secondaryDelaySecs: Long.ZERO,
    votes: new Int32(1),
  }))
  return {
    config: {
      _id: set.name,
      version: new Int32(set.version),
      term: new Int32(set.term),
      members,
      protocolVersion: Long.ONE,
      writeConcernMajorityJournalDefault: true,
      settings: { chainingAllowed: true, heartbeatIntervalMillis: new Int32(2000), replicaSetId: set.id },
    },
  }
}
