/**
 * Networks of client addresses: `10.0.0.0/8`, `2001:db8::/32`, or one address.
 *
 * An IPv4 address that comes as IPv6 (`::ffff:10.0.0.1`, as sockets of both kinds give it) is the IPv4 address, here and
 * in networks. `node:net` has all of this in BlockList; that would bind the decision about a principal to a module of
 * sockets.
 */
import type { Network } from './match.js'

/** The network that a text names; bits behind its prefix are dropped. Undefined where it names none. */
export function parseNetwork(text: string): Network | undefined {
  const [, written = '', digits] = /^([0-9A-Fa-f.:]{2,45})(?:\/(\d{1,3}))?$/.exec(text) ?? []
  const bytes = bytesOf(written)
  if (!bytes) return undefined
  const whole = bytes.length * 8
  // `::ffff:10.0.0.0/104` is 10.0.0.0/8.
  const prefix = digits === undefined ? whole : Number(digits) - (bytes.length === 4 && written.includes(':') ? 96 : 0)
  if (prefix < 0 || prefix > whole) return undefined
  const address = spelled(bytes.map((byte, index) => byte & maskAt(index, prefix)))
  return { address, prefix, family: bytes.length === 4 ? 'ipv4' : 'ipv6' }
}

/** Whether an address is in one of the networks. A text that is no address is in none. */
export function isInNetworks(address: string, networks: readonly Network[]): boolean {
  const bytes = bytesOf(address.replace(/%.*$/, ''))
  return bytes !== undefined && networks.some(network => covers(network, bytes))
}

/** As people write it; one address without its prefix. */
export function formatNetwork({ address, prefix, family }: Network): string {
  return prefix === (family === 'ipv4' ? 32 : 128) ? address : `${address}/${prefix}`
}

function covers({ address, prefix }: Network, bytes: readonly number[]): boolean {
  const wanted = bytesOf(address)
  if (wanted?.length !== bytes.length) return false
  return bytes.every((byte, index) => (byte & maskAt(index, prefix)) === wanted[index])
}

/** The bits of this byte that belong to the prefix. */
function maskAt(index: number, prefix: number): number {
  const bits = Math.min(8, Math.max(0, prefix - index * 8))
  return (0xff00 >> bits) & 0xff
}

/** 4 or 16 bytes. */
function bytesOf(text: string): number[] | undefined {
  return text.includes(':') ? ipv6(text) : ipv4(text)
}

function ipv4(text: string): number[] | undefined {
  const parts = text.split('.')
  // A leading zero means octal to some, so nobody may mean either.
  if (parts.length !== 4 || !parts.every(part => /^(0|[1-9]\d{0,2})$/.test(part))) return undefined
  const bytes = parts.map(Number)
  return bytes.every(byte => byte < 256) ? bytes : undefined
}

function ipv6(text: string): number[] | undefined {
  const dotted = /^(.*:)(\d+\.[\d.]+)$/.exec(text)
  const last = dotted ? ipv4(dotted[2] ?? '') : []
  if (!last) return undefined
  // With a dotted end, the colon before it is a separator, unless it is the second of `::`.
  const groups = dotted ? (dotted[1] ?? '').replace(/([^:]):$/, '$1') : text
  const halves = groups.split('::')
  if (halves.length > 2) return undefined
  const [head, tail] = halves.map(half => (half === '' ? [] : half.split(':')))
  if (!head || ![...head, ...(tail ?? [])].every(group => /^[0-9A-Fa-f]{1,4}$/.test(group))) return undefined
  const missing = 8 - last.length / 2 - head.length - (tail?.length ?? 0)
  if (tail ? missing < 1 : missing !== 0) return undefined
  const words = [...head, ...Array.from({ length: missing }, () => '0'), ...(tail ?? [])]
  const bytes = [...words.flatMap(word => split(Number.parseInt(word, 16))), ...last]
  const mapped = bytes.slice(0, 10).every(byte => byte === 0) && bytes[10] === 0xff && bytes[11] === 0xff
  return mapped ? bytes.slice(12) : bytes
}

const split = (word: number): number[] => [word >> 8, word & 0xff]

function spelled(bytes: readonly number[]): string {
  if (bytes.length === 4) return bytes.join('.')
  const words = Array.from({ length: 8 }, (_, i) => (((bytes[i * 2] ?? 0) << 8) | (bytes[i * 2 + 1] ?? 0)).toString(16))
  // The longest run of zeros, the first of several, is written `::`.
  const [run] = [
    ...words
      .map(word => (word === '0' ? '0' : '1'))
      .join('')
      .matchAll(/00+/g),
  ]
    .map(({ 0: zeros, index }) => ({ from: index, to: index + zeros.length }))
    .sort((one, other) => other.to - other.from - (one.to - one.from))
  return run ? `${words.slice(0, run.from).join(':')}::${words.slice(run.to).join(':')}` : words.join(':')
}
