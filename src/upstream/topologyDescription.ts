/**
 * Which member is the primary, whose hello clients see, and which members are watched: decided from what each member said
 * last and from what was seen before. Pure.
 *
 * As drivers decide it
 * (https://github.com/mongodb/specifications/blob/master/source/server-discovery-and-monitoring/server-discovery-and-monitoring.md),
 * so that the proxy follows the primary that they would.
 */
import { type Document, Double, Int32, ObjectId } from 'bson'
import { formatAddress, parseAddress } from './address.js'

/** An election is later than another by its id, then by the set's version (before wire version 17 the other way round). */
type Election = { id: ObjectId; setVersion: number; wire: number }

export type TopologyHistory = {
  /** Members must name this set; the first name that is seen if nobody gave one. */
  setName: string | undefined
  /** The latest election that was seen: who claims an earlier one is stale. */
  maxElection: Election | undefined
  /** The last primary. */
  lastPrimary: string | undefined
  /** The term of its that lasts, if one does: it outlives that the member cannot be reached. */
  termKey: string | undefined
}

export type TopologyDescription = {
  history: TopologyHistory
  /** Whether clients are shown a set; `unknown` while nobody has answered. */
  type: 'set' | 'standalone' | 'unknown'
  primary: string | undefined
  /** The member whose hello clients see. */
  helloSource: string | undefined
  /** The members to watch, in order. */
  monitored: readonly string[]
}

/** What each watched member said last; undefined for one that does not answer. */
export type HelloByAddress = ReadonlyMap<string, Document | undefined>

/** What MongoDB allows. */
const MOST = 50

/** `single`: the one seed is what clients are given, whatever it is. */
export function describeTopology(
  hellos: HelloByAddress,
  memory: TopologyHistory,
  seeds: readonly string[],
  single: boolean,
): TopologyDescription {
  const [seed] = seeds
  if (single && seed !== undefined) {
    const base = hellos.get(seed) && seed
    return {
      history: { ...memory, lastPrimary: seed, termKey: seed },
      type: 'standalone',
      primary: seed,
      helloSource: base,
      monitored: seeds,
    }
  }
  const found = [...hellos]
    .flatMap(([address, hello]) => (hello ? [{ address, ...read(hello) }] : []))
    .sort((a, b) => (a.address < b.address ? -1 : 1))
  const setName = memory.setName ?? found.find(member => member.setName !== undefined)?.setName
  const only = seeds.length === 1 ? found.find(({ address }) => address === seed) : undefined
  if (setName === undefined && only) {
    const primary = only.writable ? only.address : undefined
    const kept = { ...memory, lastPrimary: only.address, termKey: primary }
    return { history: kept, type: 'standalone', primary, helloSource: only.address, monitored: seeds }
  }
  const members = found.filter(member => member.setName !== undefined && member.setName === setName)
  const claims = members.filter(({ writable, others, address }) => writable && others.includes(address))
  const best = claims.reduce<Member | undefined>((a, b) => (a && !isLater(b.election, a.election) ? a : b), undefined)
  const primary = best && !isLater(memory.maxElection, best.election) ? best : undefined
  const last = primary?.address ?? memory.lastPrimary
  const wanted = primary
    ? primary.others
    : [...hellos.keys(), ...seeds, ...members.flatMap(({ others }) => others)].filter(once).slice(0, MOST)
  const away = last !== undefined && wanted.includes(last) && hellos.get(last) === undefined
  return {
    history: {
      setName,
      maxElection: primary?.election ?? memory.maxElection,
      lastPrimary: last,
      termKey: primary ? `${primary.address} ${primary.election?.id.toHexString()}` : away ? memory.termKey : undefined,
    },
    type: members.length > 0 ? 'set' : 'unknown',
    primary: primary?.address,
    helloSource: (members.find(({ address }) => address === last) ?? members[0])?.address,
    monitored: [...wanted].sort(),
  }
}

/** What `read` looks at. */
const JUDGED = [
  'setName',
  'isWritablePrimary',
  'ismaster',
  'hosts',
  'passives',
  'electionId',
  'setVersion',
  'maxWireVersion',
] as const

/** Whether a member says the same as before, as far as it is judged by that; what has no form counts as different. */
export function describesSameServer(hello: Document, before: Document): boolean {
  return JUDGED.every(field => isSame(hello[field], before[field]))
}

function isSame(a: unknown, b: unknown): boolean {
  if (a === b) return true
  if (Array.isArray(a)) return Array.isArray(b) && a.length === b.length && a.every((entry, at) => entry === b[at])
  if (a instanceof ObjectId) return b instanceof ObjectId && a.equals(b)
  return isNumber(a) && isNumber(b) && a.value === b.value
}

const isNumber = (value: unknown) => value instanceof Int32 || value instanceof Double

type Member = ReturnType<typeof read> & { address: string }

/** What a hello says, as far as it has the form. `others` are the members that have data, itself among them. */
function read({
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
    others: [...texts(hosts), ...texts(passives)]
      .flatMap(text => parseAddress(text) ?? [])
      .map(formatAddress)
      .filter(once)
      .slice(0, MOST),
    election:
      electionId instanceof ObjectId
        ? { id: electionId, setVersion: Number(setVersion) || 0, wire: Number(maxWireVersion) || 0 }
        : undefined,
  }
}

/** Whether `a` is later than `b`. No election at all is earlier than any. */
function isLater(a: Election | undefined, b: Election | undefined): boolean {
  if (!a || !b) return a !== undefined && b === undefined
  const byId = Buffer.compare(a.id.id, b.id.id)
  const byVersion = a.setVersion - b.setVersion
  return (b.wire >= 17 ? byId || byVersion : byVersion || byId) > 0
}

function texts(value: unknown): string[] {
  return Array.isArray(value) ? value.slice(0, MOST).filter(entry => typeof entry === 'string') : []
}

const once = <T>(value: T, index: number, all: readonly T[]): boolean => all.indexOf(value) === index
