/** The state of a member as metrics and pages show it. Pure. */
import type { Document } from 'bson'

/** `other` answers but serves nobody: it starts up, recovers, or claims to be a primary that the set has replaced. */
export type MemberState = 'primary' | 'secondary' | 'arbiter' | 'other' | 'unreachable'

export type MemberStatus = {
  address: string
  state: MemberState
  /** Why the last check failed; undefined if it succeeded or none has ended yet. */
  why: string | undefined
}

/** `hello`: the last one of the member; undefined if it does not answer. */
export function describeMemberState(hello: Document | undefined, isPrimary: boolean): MemberState {
  if (!hello) return 'unreachable'
  if (isPrimary) return 'primary'
  if (hello.arbiterOnly === true) return 'arbiter'
  return hello.secondary === true ? 'secondary' : 'other'
}
