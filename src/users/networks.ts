/**
 * Networks of client addresses: `10.0.0.0/8`, `2001:db8::/32`, or a single address.
 *
 * A dual-stack socket reports an IPv4 client as an IPv4-mapped IPv6 address (`::ffff:10.0.0.1`, RFC 4291 section 2.5.5.2).
 * Such an address counts as the IPv4 address, in clients and in networks alike. `BlockList` of `node:net` was rejected: it
 * would make the rules depend on a module of sockets.
 */
import ipaddr from 'ipaddr.js'
import type { Network } from './match.js'

type Address = ReturnType<typeof ipaddr.parse>

/** IPv4-mapped IPv6 addresses have 96 bits before the IPv4 address. */
const MAPPED_PREFIX_BITS = 96

/** Parses a network in CIDR notation (RFC 4632) or a single address; clears the bits after the prefix. */
export function parseNetwork(text: string): Network | undefined {
  const [, addressText = '', digits] = /^([0-9A-Fa-f.:]{2,45})(?:\/(\d{1,3}))?$/.exec(text) ?? []
  const address = parseAddress(addressText)
  if (!address) return undefined
  const bytes = address.toByteArray()
  const bits = bytes.length * 8
  // `::ffff:10.0.0.0/104` is 10.0.0.0/8.
  const isMapped = address.kind() === 'ipv4' && addressText.includes(':')
  const prefix = digits === undefined ? bits : Number(digits) - (isMapped ? MAPPED_PREFIX_BITS : 0)
  if (prefix < 0 || prefix > bits) return undefined
  const network = ipaddr.fromByteArray(bytes.map((byte, index) => byte & maskByte(index, prefix)))
  return { address: network.toString(), prefix, family: network.kind() }
}

/** Whether a client address is in one of the networks. A text that is not an address is in none. */
export function isInNetworks(text: string, networks: readonly Network[]): boolean {
  const address = parseAddress(text.replace(/%.*$/, '')) // an IPv6 zone, as in fe80::1%eth0, does not matter here
  return address !== undefined && networks.some(network => contains(network, address))
}

/** The network in CIDR notation; a single address without its prefix. */
export function formatNetwork({ address, prefix, family }: Network): string {
  return prefix === (family === 'ipv4' ? 32 : 128) ? address : `${address}/${prefix}`
}

function contains(network: Network, address: Address): boolean {
  return network.family === address.kind() && address.match(ipaddr.parse(network.address), network.prefix)
}

/**
 * Parses an IPv4 address in four decimal parts, or an IPv6 address; a mapped address becomes the IPv4 address. Other
 * spellings of `inet_aton` (octal, hexadecimal, fewer parts) are rejected: programs disagree about their meaning.
 */
function parseAddress(text: string): Address | undefined {
  const dotted = text.slice(text.lastIndexOf(':') + 1)
  const hasDots = dotted.includes('.') || !text.includes(':')
  if (hasDots && !ipaddr.IPv4.isValidFourPartDecimal(dotted)) return undefined
  // ipaddr.js takes the IPv4-compatible ::10.0.0.1 for a mapped address. It is another address (RFC 4291 section 2.5.5.1).
  const unambiguous = text.replace(/^::(?=\d+\.)/, '0::')
  return ipaddr.isValid(unambiguous) ? ipaddr.process(unambiguous) : undefined
}

/** The bits of one byte of an address that belong to the prefix. */
function maskByte(index: number, prefix: number): number {
  const bits = Math.min(8, Math.max(0, prefix - index * 8))
  return (0xff00 >> bits) & 0xff
}
