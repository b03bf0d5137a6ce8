/** How the connections of the listener are divided: a reserve for unauthenticated connections, and session slots. */
import type { Settings } from './settings.js'

export type ConnectionLimits = {
  /** All connections of clients. */
  connections: number
  /** The connections that sessions never take. */
  reserve: number
  /** Session slots: the connections that may be logged in. */
  sessions: number
  /** The session slots that one principal may hold, unless its rule says otherwise. */
  perPrincipal: number
}

type ListenSettings = Pick<Settings['listen'], 'connections' | 'reserve' | 'perPrincipal'>

/** The limits of these settings, with the defaults of those that are not set. */
export function divideConnections({ connections, reserve, perPrincipal }: ListenSettings): ConnectionLimits {
  const reserved = reserve ?? atLeastOne(connections / 4)
  const sessions = connections - reserved
  return { connections, reserve: reserved, sessions, perPrincipal: perPrincipal ?? atLeastOne(sessions / 2) }
}

/** The same division of fewer connections, at least two. */
export function scaleDown(limits: ConnectionLimits, connections: number): ConnectionLimits {
  const reserve = atLeastOne((connections * limits.reserve) / limits.connections)
  const sessions = connections - reserve
  return { connections, reserve, sessions, perPrincipal: scaleShare(limits.perPrincipal, limits, { sessions }) }
}

/** The share of one principal, in proportion to the session slots that are left. */
export function scaleShare(
  share: number,
  { sessions: configured }: Pick<ConnectionLimits, 'sessions'>,
  { sessions }: Pick<ConnectionLimits, 'sessions'>,
): number {
  return sessions < configured ? atLeastOne((share * sessions) / configured) : share
}

const atLeastOne = (count: number): number => Math.max(1, Math.floor(count))
