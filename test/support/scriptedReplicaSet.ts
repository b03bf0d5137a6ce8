/** A replica set of scripted upstreams: its members name each other, hold awaitable hellos, and change when a test says so. */
import { type Document, Int32, Long, ObjectId } from 'bson'
import {
  type Answer,
  memberHello,
  type ReceivedCommand,
  type ScriptedUpstream,
  startScriptedUpstream,
} from './scriptedUpstream.js'

export type ScriptedMember = ScriptedUpstream & {
  address: string
  /** Changes its hello, and replies to the awaitable hellos that it holds. */
  changeHello(changes: Document): void
}

export type ScriptedReplicaSet = {
  members: ScriptedMember[]
  /** The fields of a hello that make a member the primary of this election, and those that make it a secondary. */
  primary(election: number): Document
  secondary: Document
  /** The address of every member, which each of them lists by default. */
  hosts: string[]
}

type Teardown = { teardown(run: () => unknown): unknown }

/** Starts `size` members. The first one is the primary, of election 1. */
export async function startScriptedReplicaSet(t: Teardown, size = 3): Promise<ScriptedReplicaSet> {
  const electionId = (election: number) =>
    new ObjectId(`7fffffff00000000000000${election.toString(16).padStart(2, '0')}`)
  const primary = (election: number) => ({
    isWritablePrimary: true,
    secondary: false,
    electionId: electionId(election),
  })
  const secondary = { isWritablePrimary: false, secondary: true, electionId: undefined }
  const hosts: string[] = []
  const members: ScriptedMember[] = []
  for (let nth = 0; nth < size; nth++) {
    const processId = new ObjectId()
    let counter = 1
    let changes: Document = nth === 0 ? primary(1) : secondary
    let held: ((answer: Answer) => void)[] = []
    const hello = () =>
      memberHello({
        hosts: [...hosts],
        me: upstream.target.address,
        primary: undefined,
        setVersion: new Int32(1),
        ...changes,
        topologyVersion: { processId, counter: Long.fromNumber(counter) },
      })
    const script = (asked: ReceivedCommand): Answer | Promise<Answer> => {
      const known = asked.body.topologyVersion
      if (known && processId.equals(known.processId) && Number(known.counter) === counter) {
        return new Promise<Answer>(resolve => held.push(resolve))
      }
      return hello()
    }
    const upstream = await startScriptedUpstream(t, script)
    hosts.push(upstream.target.address)
    members.push({
      ...upstream,
      address: upstream.target.address,
      changeHello(next) {
        changes = { ...changes, ...next }
        counter++
        const waiting = held
        held = []
        for (const release of waiting) release(hello())
      },
    })
  }
  return { members, primary, secondary, hosts }
}
