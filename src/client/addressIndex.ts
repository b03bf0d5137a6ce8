/** Unauthenticated connections by client address: which address has the most, and which of its connections is silent longest. */

type AddressEntry<C> = {
  count: number
  /** All in the order of their last activity. */
  silent: Set<C>
  /** The silent ones that are not monitors. */
  newcomers: Set<C>
  busy: Set<C>
}

/** `C` is a connection. Every operation takes constant time. */
export class AddressIndex<C> {
  readonly #entries = new Map<string, AddressEntry<C>>()
  /** The addresses that have n connections, at index n. An address moves between neighbouring indexes only. */
  readonly #byCount: Set<string>[] = []
  #maxCount = 0

  /** The number of connections of an address. */
  count(address: string): number {
    return this.#entries.get(address)?.count ?? 0
  }

  /** The number of connections of the address that has the most. */
  get maxCount(): number {
    return this.#maxCount
  }

  add(address: string, connection: C): void {
    const entry = this.#entries.get(address) ?? { count: 0, silent: new Set(), newcomers: new Set(), busy: new Set() }
    this.#entries.set(address, entry)
    entry.silent.add(connection)
    entry.newcomers.add(connection)
    this.#changeCount(address, entry, 1)
  }

  /** Marks a connection as the most recently active of its address. A busy one is logging in. */
  touch(address: string, connection: C, as: 'newcomer' | 'monitor' | 'busy'): void {
    const entry = this.#entries.get(address)
    if (!entry) return
    deleteFromAll(entry, connection)
    ;(as === 'busy' ? entry.busy : entry.silent).add(connection)
    if (as === 'newcomer') entry.newcomers.add(connection)
  }

  remove(address: string, connection: C): void {
    const entry = this.#entries.get(address)
    if (!entry) return
    deleteFromAll(entry, connection)
    this.#changeCount(address, entry, -1)
    if (entry.count === 0) this.#entries.delete(address)
  }

  /** An address that has the most connections: `preferred`, if no other has more. */
  largestAddress(preferred: string): string {
    const [other = preferred] = this.#byCount[this.#maxCount] ?? []
    return this.count(preferred) === this.#maxCount ? preferred : other
  }

  /** The connection of this address that has been silent longest; undefined if all of them are busy. */
  longestSilent(address: string): C | undefined {
    const [first] = this.#entries.get(address)?.silent ?? []
    return first
  }

  /** The same among the connections that are not monitors. */
  longestSilentNewcomer(address: string): C | undefined {
    const [first] = this.#entries.get(address)?.newcomers ?? []
    return first
  }

  /** The connection of this address that has been busy longest; undefined if none is busy. */
  longestBusy(address: string): C | undefined {
    const [first] = this.#entries.get(address)?.busy ?? []
    return first
  }

  #changeCount(address: string, entry: AddressEntry<C>, by: 1 | -1): void {
    this.#byCount[entry.count]?.delete(address)
    entry.count += by
    this.#byCount[entry.count] ??= new Set()
    this.#byCount[entry.count]?.add(address)
    if (entry.count > this.#maxCount) this.#maxCount = entry.count
    else if (this.#byCount[this.#maxCount]?.size === 0) this.#maxCount -= 1
  }
}

function deleteFromAll<C>({ silent, newcomers, busy }: AddressEntry<C>, connection: C): void {
  silent.delete(connection)
  newcomers.delete(connection)
  busy.delete(connection)
}
