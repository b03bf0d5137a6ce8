/**
 * The logins that wait for the tokens of one bucket, in the order in which they are served.
 *
 *     known    this credential logged in from this subnet recently ┐ of 16 tokens 12
 *     normal   nothing is known                                    │              3     unused shares go to the other
 *     suspect  logins from this subnet keep failing                ┘              1     priorities, the best one first
 *
 * Within a priority, subnets are served round-robin, and each subnet in order of arrival, so a flood from one subnet
 * delays itself alone. A priority is a hint: every login still has to prove its identity.
 */

export type Priority = 'known' | 'normal' | 'suspect'

/** Where an entry waits. `subnet` is the unit of fairness: an IPv4 address or an IPv6 /64. */
type Position = { subnet: string; priority: Priority }
/** `fingerprint` identifies the credential of the login. */
export type QueueEntry = Position & { fingerprint: string }

/** Every priority's share of the tokens while all of them have entries, best priority first. */
const SHARES: Readonly<Record<Priority, number>> = { known: 12 / 16, normal: 3 / 16, suspect: 1 / 16 }
const PRIORITIES = Object.keys(SHARES) as readonly Priority[]

/** Of 16 slots the last belongs to suspects and every fourth to normal entries. An unused slot goes to the best priority. */
export function priorityOrder(slot: number): readonly Priority[] {
  const first: Priority = slot % 16 === 15 ? 'suspect' : slot % 4 === 3 ? 'normal' : 'known'
  return ORDERS[first]
}
const orderFrom = (first: Priority): Priority[] => [first, ...PRIORITIES.filter(name => name !== first)]
const ORDERS = { known: orderFrom('known'), normal: orderFrom('normal'), suspect: orderFrom('suspect') }

/** The entries of one priority, by subnet, in the order in which the subnets are served. */
type PriorityClass<W> = { length: number; bySubnet: Map<string, W[]> }

export class FairQueue<W extends QueueEntry> {
  readonly #classes: Readonly<Record<Priority, PriorityClass<W>>> = {
    known: { length: 0, bySubnet: new Map() },
    normal: { length: 0, bySubnet: new Map() },
    suspect: { length: 0, bySubnet: new Map() },
  }
  #length = 0
  #slot = 0

  get length(): number {
    return this.#length
  }

  /** The best priority that has entries. */
  get bestPriority(): Priority | undefined {
    return PRIORITIES.find(priority => this.#classes[priority].length > 0)
  }

  /**
   * An upper bound for the number of tokens until this entry is served, provided that no other entry arrives. An entry
   * that is not queued counts as the last one of its subnet.
   */
  tokensUntil(position: Position): number {
    const { bySubnet } = this.#classes[position.priority]
    const own = bySubnet.get(position.subnet)
    return this.#tokensUntilNth(position, (own?.length ?? 0) + 1, bySubnet.size + (own ? 0 : 1))
  }

  enqueue(entry: W): void {
    const group = this.#classes[entry.priority]
    const own = group.bySubnet.get(entry.subnet)
    if (own) own.push(entry)
    else group.bySubnet.set(entry.subnet, [entry])
    group.length++
    this.#length++
  }

  /** Returns false if the entry was not queued. */
  remove(entry: W): boolean {
    const own = this.#entriesAt(entry)
    const index = own?.indexOf(entry) ?? -1
    if (!own || index < 0) return false
    own.splice(index, 1)
    this.#countRemoved(entry, own)
    return true
  }

  dequeue(): W | undefined {
    if (this.#length === 0) return undefined
    const priority = priorityOrder(this.#slot++).find(name => this.#classes[name].length > 0)
    if (!priority) return undefined
    const { bySubnet } = this.#classes[priority]
    for (const [subnet, own] of bySubnet) {
      const entry = own.shift()
      bySubnet.delete(subnet)
      bySubnet.set(subnet, own) // behind all other subnets
      this.#countRemoved({ subnet, priority }, own)
      return entry
    }
    return undefined
  }

  /** Gives all entries of this credential in this subnet the priority `known`. Returns false if that changes nothing. */
  promote(subnet: string, fingerprint: string): boolean {
    const others = (['normal', 'suspect'] as const).flatMap(priority => this.#entriesAt({ subnet, priority }) ?? [])
    const promoted = others.filter(entry => entry.fingerprint === fingerprint)
    for (const entry of promoted) {
      this.remove(entry)
      entry.priority = 'known'
      this.enqueue(entry)
    }
    return promoted.length > 0
  }

  /**
   * Removes and returns the last entries of a subnet, as long as `isLate` holds. It gets each entry's upper bound of
   * tokens, as `tokensUntil` gives it.
   */
  removeLate(position: Position, isLate: (entry: W, tokens: number) => boolean): W[] {
    const own = this.#entriesAt(position)
    const late: W[] = []
    for (let last = own?.at(-1); own && last; last = own.at(-1)) {
      const { bySubnet } = this.#classes[position.priority]
      if (!isLate(last, this.#tokensUntilNth(position, own.length, bySubnet.size))) break
      own.pop()
      this.#countRemoved(position, own)
      late.push(last)
    }
    return late
  }

  /** Removes and returns the first entries of every subnet, as long as `isExpired` holds. */
  removeExpired(isExpired: (entry: W) => boolean): W[] {
    const expired: W[] = []
    for (const priority of PRIORITIES) {
      for (const [subnet, own] of this.#classes[priority].bySubnet) {
        for (let first = own[0]; first && isExpired(first); first = own[0]) {
          own.shift()
          this.#countRemoved({ subnet, priority }, own)
          expired.push(first)
        }
      }
    }
    return expired
  }

  #entriesAt({ subnet, priority }: Position): W[] | undefined {
    return this.#classes[priority].bySubnet.get(subnet)
  }

  /**
   * Tokens until the `nth` entry of a subnet is served. Both are upper bounds: all entries that could be served before it,
   * and the tokens after which the share of its priority suffices.
   */
  #tokensUntilNth({ priority }: Position, nth: number, subnets: number): number {
    const { length } = this.#classes[priority]
    const within = Math.min(length + 1, nth * subnets)
    return Math.min(within / SHARES[priority], within + this.#length - length)
  }

  #countRemoved({ subnet, priority }: Position, own: W[]): void {
    const group = this.#classes[priority]
    if (own.length === 0) group.bySubnet.delete(subnet)
    group.length--
    this.#length--
  }
}
