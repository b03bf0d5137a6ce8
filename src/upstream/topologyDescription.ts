/**
 * Describes the topology: its type, its primary and the members to monitor, from the last hello of each member and from
 * what earlier hellos proved. Pure.
 *
 * The rules are those of the SDAM specification, so the proxy follows the same primary as a driver would:
 * https://github.com/mongodb/specifications/blob/master/source/server-discovery-and-monitoring/server-discovery-and-monitoring.md
 */
import { type Document, Double, Int32, ObjectId } from 'bson'
import { formatAddress, parseAddress } from './address.js'

/** Orders elections: by electionId, then by setVersion. Before wire version 17 setVersion counts first. */
type Election = { id: ObjectId; setVersion: number; wireVersion: number }

/** What earlier hellos proved. It outlives the monitors, so a stale primary stays recognizable. */
export type TopologyHistory = {
  /** Every member must report this name. If the connection string names no set, the first name that a member reports. */
  setName: string | undefined
  /** The latest election (maxElectionId and maxSetVersion). A primary of an earlier election is stale. */
  maxElection: Election | undefined
  lastPrimary: string | undefined
  /** Identifies the current term of the primary. The term continues while its primary is only unreachable. */
  termKey: string | undefined
}

export type TopologyDescription = {
  history: TopologyHistory
  /** `unknown` until a member has answered. */
  type: 'set' | 'standalone' | 'unknown'
  primary: string | undefined
  /** The member whose hello is shown to clients. */
  helloSource: string | undefined
  /** Addresses of the members to monitor, sorted. */
  monitored: readonly string[]
}

/** The last hello of each monitored member; undefined for a member that does not answer. */
export type HelloByAddress = ReadonlyMap<string, Document | undefined>

type Member = ReturnType<typeof readHello> & { address: string }

/** MongoDB's own limit. */
const MAX_MEMBERS = 50

/** `single`: use the one seed whatever it is (directConnection, the specification's topology type Single). */
export function describeTopology(
  hellos: HelloByAddress,
  history: TopologyHistory,
  seeds: readonly string[],
  single: boolean,
): TopologyDescription {
  const [seed] = seeds
  if (single && seed !== undefined) return describeSingle(seed, hellos, history, seeds)
  const answered = readMembers(hellos)
  const setName = history.setName ?? answered.find(member => member.setName !== undefined)?.setName
  const standalone = seeds.length === 1 ? answered.find(({ address }) => address === seed) : undefined
  if (setName === undefined && standalone) return describeStandalone(standalone, history)
  return describeReplicaSet(answered, hellos, { ...history, setName }, seeds)
}

function describeSingle(
  seed: string,
  hellos: HelloByAddress,
  history: TopologyHistory,
  seeds: readonly string[],
): TopologyDescription {
  return {
    history: { ...history, lastPrimary: seed, termKey: seed },
    type: 'standalone',
    primary: seed,
    helloSource: hellos.get(seed) && seed,
    monitored: seeds,
  }
}

function describeStandalone({ address, writable }: Member, history: TopologyHistory): TopologyDescription {
  const primary = writable ? address : undefined
  return {
    history: { ...history, lastPrimary: address, termKey: primary },
    type: 'standalone',
    primary,
    helloSource: address,
    monitored: [address],
  }
}

function describeReplicaSet(
  answered: readonly Member[],
  hellos: HelloByAddress,
  history: TopologyHistory,
  seeds: readonly string[],
): TopologyDescription {
  const members = answered.filter(({ setName }) => setName !== undefined && setName === history.setName)
  const primary = findPrimary(members, history.maxElection)
  const lastPrimary = primary?.address ?? history.lastPrimary
  // Without a primary no list of members is authoritative, so every address that any member names is monitored.
  const monitored = primary
    ? primary.dataBearing
    : [...hellos.keys(), ...seeds, ...members.flatMap(({ dataBearing }) => dataBearing)]
        .filter(isFirstOccurrence)
        .slice(0, MAX_MEMBERS)
  const isUnreachable =
    lastPrimary !== undefined && monitored.includes(lastPrimary) && hellos.get(lastPrimary) === undefined
  const lastTermKey = isUnreachable ? history.termKey : undefined
  return {
    history: {
      setName: history.setName,
      maxElection: primary?.election ?? history.maxElection,
      lastPrimary,
      termKey: primary ? formatTermKey(primary) : lastTermKey,
    },
    type: members.length > 0 ? 'set' : 'unknown',
    primary: primary?.address,
    helloSource: (members.find(({ address }) => address === lastPrimary) ?? members[0])?.address,
    monitored: [...monitored].sort(),
  }
}

/** The primary with the latest election. Undefined if that election is earlier than `maxElection`: then it is stale. */
function findPrimary(members: readonly Member[], maxElection: Election | undefined): Member | undefined {
  const claimants = members.filter(({ writable, dataBearing, address }) => writable && dataBearing.includes(address))
  const latest = claimants.reduce<Member | undefined>(
    (a, b) => (a && !isLaterElection(b.election, a.election) ? a : b),
    undefined,
  )
  return latest && !isLaterElection(maxElection, latest.election) ? latest : undefined
}

const formatTermKey = ({ address, election }: Member): string => `${address} ${election?.id.toHexString()}`

/** Compares two elections. No election is earlier than any election. */
function isLaterElection(a: Election | undefined, b: Election | undefined): boolean {
  if (!a || !b) return a !== undefined && b === undefined
  const byId = Buffer.compare(a.id.id, b.id.id)
  const byVersion = a.setVersion - b.setVersion
  return (b.wireVersion >= 17 ? byId || byVersion : byVersion || byId) > 0
}

/** The members that answered, sorted by address: a choice among equals does not depend on the order of the answers. */
function readMembers(hellos: HelloByAddress): Member[] {
  return [...hellos]
    .flatMap(([address, hello]) => (hello ? [{ address, ...readHello(hello) }] : []))
    .sort((a, b) => (a.address < b.address ? -1 : 1))
}

/** The fields of hello that the description depends on. A field of the wrong type counts as missing. */
function readHello({
  setName,
  isWritablePrimary,
  ismaster,
  hosts,
  passives,
  electionId,
  setVersion,
  maxWireVersion,
}: Document) {
  return {
    setName: typeof setName === 'string' && setName !== '' ? setName : undefined,
    writable: (isWritablePrimary ?? ismaster) === true,
    /** Addresses of all members that hold data; a member names itself among them. */
    dataBearing: [...readStrings(hosts), ...readStrings(passives)]
      .flatMap(text => parseAddress(text) ?? [])
      .map(formatAddress)
      .filter(isFirstOccurrence)
      .slice(0, MAX_MEMBERS),
    election:
      electionId instanceof ObjectId
        ? { id: electionId, setVersion: Number(setVersion) || 0, wireVersion: Number(maxWireVersion) || 0 }
        : undefined,
  }
}

function readStrings(value: unknown): string[] {
  return Array.isArray(value) ? value.slice(0, MAX_MEMBERS).filter(entry => typeof entry === 'string') : []
}

const isFirstOccurrence = <T>(value: T, index: number, all: readonly T[]): boolean => all.indexOf(value) === index

/** The fields that `readHello` reads. */
const DESCRIPTIVE_FIELDS = [
  'setName',
  'isWritablePrimary',
  'ismaster',
  'hosts',
  'passives',
  'electionId',
  'setVersion',
  'maxWireVersion',
] as const

/**
 * Tells whether two hellos of one member lead to the same description, so that it need not be computed again. Values of
 * an unexpected type count as different.
 */
export function describesSameServer(hello: Document, before: Document): boolean {
  return DESCRIPTIVE_FIELDS.every(field => isEqual(hello[field], before[field]))
}

function isEqual(a: unknown, b: unknown): boolean {
  if (a === b) return true
  if (Array.isArray(a)) return Array.isArray(b) && a.length === b.length && a.every((entry, at) => entry === b[at])
  if (a instanceof ObjectId) return b instanceof ObjectId && a.equals(b)
  return isNumber(a) && isNumber(b) && a.value === b.value
}

const isNumber = (value: unknown) => value instanceof Int32 || value instanceof Double
