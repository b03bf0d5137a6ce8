/**
 * Who waits for the tokens of one bucket, and whose turn it is.
 *
 *     known    good lately from this address with this key ┐ of 16 tokens 12
 *     plain    nothing is known of it                      │              3     what one class does not need goes to
 *     suspect  failed lately from this address             ┘              1     the others, the better one first
 *
 * Within a class the addresses take turns, and each address is served in the order of arrival: a crowd behind one
 * address waits for itself. A class is a hint of priority and nothing else; who is served still has to prove who it is.
 */

export type Priority = 'known' | 'plain' | 'suspect'

/** `address`: what is fair to whom; an IPv6 client is its /64. */
type Spot = { subnet: string; priority: Priority }
/** `holder`: a name for the credential that is shown there. */
export type QueueEntry = Spot & { fingerprint: string }

export type FairQueue<W extends QueueEntry> = {
  readonly length: number
  /** The best priority of those who wait. */
  readonly bestPriority: Priority | undefined
  /** How many tokens have come at most when this one is served; if it does not wait yet, as the last of its address. */
  tokensUntil(place: Spot): number
  enqueue(waiting: W): void
  /** True if it was there. */
  remove(waiting: W): boolean
  /** The next in turn; it waits no more. */
  dequeue(): W | undefined
  /** Those of this address and holder are known from now on. True if somebody was not. */
  promote(subnet: string, fingerprint: string): boolean
  /** Removes those at the end of this place for whom `isLate` holds, from the last one on, and gives them. */
  removeLate(place: Spot, isLate: (waiting: W, ahead: number) => boolean): W[]
  /** Removes the first of each address for whom it holds, and those behind it, and gives them. */
  removeExpired(isOver: (waiting: W) => boolean): W[]
}

/** Each class's part of the tokens while all of them wait, in order of preference for what is left over. */
const PARTS: readonly (readonly [priority: Priority, part: number])[] = [
  ['known', 12 / 16],
  ['plain', 3 / 16],
  ['suspect', 1 / 16],
]
const PART = Object.fromEntries(PARTS) as Record<Priority, number>

/** Of 16 turns the last is for suspects and every fourth for plain ones; whose turn it is comes first, then the better. */
export function priorityOrder(turn: number): readonly Priority[] {
  const first: Priority = turn % 16 === 15 ? 'suspect' : turn % 4 === 3 ? 'plain' : 'known'
  return ORDERS[first]
}
const order = (first: Priority): Priority[] => [first, ...PARTS.map(([name]) => name).filter(name => name !== first)]
const ORDERS = { known: order('known'), plain: order('plain'), suspect: order('suspect') }

/** One class: its addresses in the order of their turns. */
type Class<W> = { length: number; addresses: Map<string, W[]> }

export function createFairQueue<W extends QueueEntry>(): FairQueue<W> {
  const classes: Record<Priority, Class<W>> = {
    known: { length: 0, addresses: new Map() },
    plain: { length: 0, addresses: new Map() },
    suspect: { length: 0, addresses: new Map() },
  }
  let length = 0
  let served = 0

  const behind = ({ subnet, priority }: Spot): W[] | undefined => classes[priority].addresses.get(subnet)

  /** Tokens until the `nth` of this place is served: all that could come before, or its class's part if that is sooner. */
  const until = ({ priority }: Spot, nth: number, addresses: number): number => {
    const within = Math.min(classes[priority].length + 1, nth * addresses)
    return Math.min(within / PART[priority], within + length - classes[priority].length)
  }

  const take = (place: Spot, from: W[], waiting: W | undefined): void => {
    if (waiting === undefined) return
    if (from.length === 0) classes[place.priority].addresses.delete(place.subnet)
    classes[place.priority].length--
    length--
  }

  const enqueue = (waiting: W): void => {
    const there = behind(waiting)
    if (there) there.push(waiting)
    else classes[waiting.priority].addresses.set(waiting.subnet, [waiting])
    classes[waiting.priority].length++
    length++
  }

  const remove = (waiting: W): boolean => {
    const there = behind(waiting)
    const at = there?.indexOf(waiting) ?? -1
    if (!there || at < 0) return false
    there.splice(at, 1)
    take(waiting, there, waiting)
    return true
  }

  return {
    get length() {
      return length
    },
    get bestPriority() {
      return PARTS.find(([name]) => classes[name].length > 0)?.[0]
    },
    tokensUntil(place) {
      const { addresses } = classes[place.priority]
      const own = addresses.get(place.subnet)
      return until(place, (own?.length ?? 0) + 1, addresses.size + (own ? 0 : 1))
    },
    enqueue,
    remove,
    dequeue() {
      if (length === 0) return undefined
      const priority = priorityOrder(served++).find(name => classes[name].length > 0)
      if (!priority) return undefined
      const { addresses } = classes[priority]
      for (const [subnet, there] of addresses) {
        const waiting = there.shift()
        addresses.delete(subnet)
        addresses.set(subnet, there) // its next turn comes after those of all others
        take({ subnet, priority }, there, waiting)
        return waiting
      }
      return undefined
    },
    promote(subnet, fingerprint) {
      const all = (['plain', 'suspect'] as const).flatMap(priority => behind({ subnet, priority }) ?? [])
      const raised = all.filter(waiting => waiting.fingerprint === fingerprint)
      for (const waiting of raised) {
        remove(waiting)
        waiting.priority = 'known'
        enqueue(waiting)
      }
      return raised.length > 0
    },
    removeLate(place, isLate) {
      const there = behind(place)
      const late: W[] = []
      for (let last = there?.at(-1); there && last; last = there.at(-1)) {
        if (!isLate(last, until(place, there.length, classes[place.priority].addresses.size))) break
        there.pop()
        take(place, there, last)
        late.push(last)
      }
      return late
    },
    removeExpired(isOver) {
      const over: W[] = []
      for (const [priority] of PARTS) {
        for (const [subnet, there] of classes[priority].addresses) {
          for (let first = there[0]; first && isOver(first); first = there[0]) {
            there.shift()
            take({ subnet, priority }, there, first)
            over.push(first)
          }
        }
      }
      return over
    },
  }
}
