/** A reproducible source of random choices, and mutations of bytes that find faults in parsers of binary protocols. */

export class Random {
  #state: number

  constructor(seed: number) {
    this.#state = seed >>> 0
  }

  /** A number from 0 up to but not including 1 (mulberry32). */
  next(): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0
    let mixed = this.#state
    mixed = Math.imul(mixed ^ (mixed >>> 15), mixed | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }

  /** An integer from 0 up to but not including `limit`. */
  below(limit: number): number {
    return Math.floor(this.next() * limit)
  }

  chance(probability: number): boolean {
    return this.next() < probability
  }

  pick<T>(from: readonly T[]): T {
    return from[this.below(from.length)] as T
  }
}

/** Lengths and counters that parsers often handle wrongly. */
const BOUNDARIES = [
  0, 1, 4, 5, 15, 16, 20, 26, 0x7f, 0xff, 0xffff, 0x10000, 48_000_000, 48_000_001, 0x7fffffff, -1, -16,
]

type Mutation = (bytes: Buffer, random: Random) => Buffer

const mutations: readonly Mutation[] = [
  function flipBit(bytes, random) {
    const copy = Buffer.from(bytes)
    const at = random.below(copy.length)
    copy[at] = (copy[at] ?? 0) ^ (1 << random.below(8))
    return copy
  },
  function replaceByte(bytes, random) {
    const copy = Buffer.from(bytes)
    copy[random.below(copy.length)] = random.pick([0, 1, 2, 3, 5, 0x10, 0x7f, 0x80, 0xff])
    return copy
  },
  function replaceInt32(bytes, random) {
    if (bytes.length < 4) return bytes
    const copy = Buffer.from(bytes)
    copy.writeInt32LE(random.pick(BOUNDARIES), random.below(copy.length - 3))
    return copy
  },
  function addToInt32(bytes, random) {
    if (bytes.length < 4) return bytes
    const copy = Buffer.from(bytes)
    const at = random.below(copy.length - 3)
    copy.writeInt32LE((copy.readInt32LE(at) + random.pick([-5, -1, 1, 4, 16])) | 0, at)
    return copy
  },
  function remove(bytes, random) {
    const from = random.below(bytes.length)
    return Buffer.concat([bytes.subarray(0, from), bytes.subarray(from + 1 + random.below(16))])
  },
  function insert(bytes, random) {
    const at = random.below(bytes.length + 1)
    const added = Buffer.from(Array.from({ length: 1 + random.below(16) }, () => random.below(256)))
    return Buffer.concat([bytes.subarray(0, at), added, bytes.subarray(at)])
  },
  function duplicate(bytes, random) {
    const from = random.below(bytes.length)
    const part = bytes.subarray(from, from + 1 + random.below(64))
    const at = random.below(bytes.length + 1)
    return Buffer.concat([bytes.subarray(0, at), part, bytes.subarray(at)])
  },
  function truncate(bytes, random) {
    return bytes.subarray(0, random.below(bytes.length))
  },
]

/** Applies one to four mutations. */
export function mutate(bytes: Buffer, random: Random): Buffer {
  let mutated = bytes
  for (let left = 1 + random.below(4); left > 0 && mutated.length > 0; left--) {
    mutated = random.pick(mutations)(mutated, random)
  }
  return mutated
}

/** Mutates a frame and corrects its length field most of the time, so that the parser behind the splitter is reached. */
export function mutateFrame(frame: Buffer, random: Random): Buffer {
  const mutated = Buffer.from(mutate(frame, random))
  if (mutated.length >= 16 && random.chance(0.8)) mutated.writeInt32LE(mutated.length, 0)
  return mutated
}

/** Cuts the bytes into one to five chunks, as a network does. */
export function splitAnywhere(bytes: Buffer, random: Random): Buffer[] {
  const cuts = Array.from({ length: random.below(5) }, () => random.below(bytes.length + 1)).sort((a, b) => a - b)
  return [...cuts, bytes.length].map((to, at) => bytes.subarray(cuts[at - 1] ?? 0, to)).filter(part => part.length > 0)
}
