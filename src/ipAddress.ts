/** Parses IP addresses, without the spellings that other programs would take for another address. */
import ipaddr from 'ipaddr.js'

export type IPAddress = ipaddr.IPv4 | ipaddr.IPv6

/**
 * An IPv4 address in four decimal parts, or an IPv6 address; undefined for any other text.
 *
 * An IPv4-mapped IPv6 address (`::ffff:10.0.0.1`, RFC 4291 section 2.5.5.2), by which a dual-stack socket reports an IPv4
 * client, gives the IPv4 address. A zone (`fe80::1%eth0`) is dropped. Other spellings of `inet_aton` (octal, hexadecimal,
 * fewer parts) are rejected: programs disagree about their meaning.
 */
export function parseIPAddress(text: string): IPAddress | undefined {
  // The zone is the name of a network interface. ipaddr.js rejects names like `br-lan` and `eth0.100`.
  const address = text.includes(':') ? text.replace(/%.*$/, '') : text
  const dotted = address.slice(address.lastIndexOf(':') + 1)
  const hasDots = dotted.includes('.') || !address.includes(':')
  if (hasDots && !ipaddr.IPv4.isValidFourPartDecimal(dotted)) return undefined
  // ipaddr.js takes the IPv4-compatible ::10.0.0.1 for a mapped address. It is another address (RFC 4291 section 2.5.5.1).
  const unambiguous = address.replace(/^::(?=\d+\.)/, '0::')
  try {
    return ipaddr.process(unambiguous)
  } catch {
    return undefined // `isValid` would parse the address once more
  }
}
