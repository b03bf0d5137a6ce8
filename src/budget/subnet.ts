/**
 * What limits count as one client address: an IPv4 address, or the /64 of an IPv6 address, since one machine usually owns
 * a whole /64.
 */
import { parseIPAddress } from '../ipAddress.js'

/**
 * An IPv4 address as it is; an IPv6 address as `2001:db8:0:1::/64`. An IPv4-mapped IPv6 address gives its IPv4 address.
 * Text that is not an address is returned unchanged.
 */
export function toSubnet(address: string): string {
  if (!address.includes(':')) return address
  const parsed = parseIPAddress(address)
  if (!parsed) return address
  if (!('parts' in parsed)) return parsed.toString()
  const prefix = parsed.parts.slice(0, 4).map(group => group.toString(16))
  return `${prefix.join(':')}::/64`
}
