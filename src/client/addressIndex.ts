/** Those who have not logged in, by address: whose are most of them, and who of an address has been silent longest. */

type There<E> = { count: number; silent: Set<E>; busy: Set<E> }

export class Crowd<E> {
  readonly #addresses = new Map<string, There<E>>()
  /** Addresses by how many each has: each step is from one to its neighbour. */
  readonly #sizes: Set<string>[] = []
  #most = 0

  /** How many an address has. */
  count(address: string): number {
    return this.#addresses.get(address)?.count ?? 0
  }

  /** What the address with most has. */
  get most(): number {
    return this.#most
  }

  join(address: string, one: E): void {
    const there = this.#addresses.get(address) ?? { count: 0, silent: new Set(), busy: new Set() }
    this.#addresses.set(address, there)
    there.silent.add(one)
    this.#count(address, there, 1)
  }

  /** It said something: all others of its address have been silent for longer. `busy`: it is none to be sent away. */
  spoke(address: string, one: E, busy: boolean): void {
    const there = this.#addresses.get(address)
    if (!there) return
    there.silent.delete(one)
    there.busy.delete(one)
    ;(busy ? there.busy : there.silent).add(one)
  }

  leave(address: string, one: E): void {
    const there = this.#addresses.get(address)
    if (!there) return
    there.silent.delete(one)
    there.busy.delete(one)
    this.#count(address, there, -1)
    if (there.count === 0) this.#addresses.delete(address)
  }

  /** An address that has most: this one, if none has more. */
  largest(address: string): string {
    const [other = address] = this.#sizes[this.#most] ?? []
    return this.count(address) === this.#most ? address : other
  }

  /** Who has been silent longest of this address; undefined where all are busy. */
  longest(address: string): E | undefined {
    const [first] = this.#addresses.get(address)?.silent ?? []
    return first
  }

  /** Who has been busy longest of this address; undefined where nobody is. */
  busiest(address: string): E | undefined {
    const [first] = this.#addresses.get(address)?.busy ?? []
    return first
  }

  #count(address: string, there: There<E>, by: 1 | -1): void {
    this.#sizes[there.count]?.delete(address)
    there.count += by
    this.#sizes[there.count] ??= new Set()
    this.#sizes[there.count]?.add(address)
    if (there.count > this.#most) this.#most = there.count
    else if (this.#sizes[this.#most]?.size === 0) this.#most -= 1
  }
}
