/**
 * Networks of client addresses: `10.0.0.0/8`, `2001:db8::/32`, or a single address.
 *
 * An IPv4-mapped IPv6 address counts as the IPv4 address, in clients and in networks alike. `BlockList` of `node:net` was
 * rejected: it would make the rules depend on a module of sockets.
 */
import ipaddr from 'ipaddr.js'
import { type IPAddress, parseIPAddress } from '../ipAddress.js'
import type { Network } from './match.js'

/** IPv4-mapped IPv6 addresses have 96 bits before the IPv4 address. */
const MAPPED_PREFIX_BITS = 96

/** Parses a network in CIDR notation (RFC 4632) or a single address; clears the bits after the prefix. */
export function parseNetwork(text: string): Network | undefined {
  const [, addressText = '', digits] = /^([0-9A-Fa-f.:]{2,45})(?:\/(\d{1,3}))?$/.exec(text) ?? []
  const address = parseIPAddress(addressText)
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
  const address = parseIPAddress(text)
  return address !== undefined && networks.some(network => contains(network, address))
}

/** Whether one of the networks contains all addresses of a network. */
export function isCovered({ address, prefix }: Network, networks: readonly Network[]): boolean {
  const first = ipaddr.parse(address)
  return networks.some(network => network.prefix <= prefix && contains(network, first))
}

/** The network in CIDR notation; a single address without its prefix. */
export function formatNetwork({ address, prefix, family }: Network): string {
  return prefix === (family === 'ipv4' ? 32 : 128) ? address : `${address}/${prefix}`
}

function contains(network: Network, address: IPAddress): boolean {
  return network.family === address.kind() && address.match(ipaddr.parse(network.address), network.prefix)
}

/** The bits of one byte of an address that belong to the prefix. */
function maskByte(index: number, prefix: number): number {
  const bits = Math.min(8, Math.max(0, prefix - index * 8))
  return (0xff00 >> bits) & 0xff
}
