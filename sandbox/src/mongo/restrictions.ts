/** `authenticationRestrictions` of a user: from which addresses it may log in. */
import { BlockList, isIPv6 } from 'node:net'
import type { Document } from 'bson'

/** True where there are none, or one of them is met by the peer's address. */
export function admits(restrictions: readonly Document[] | undefined, address: string): boolean {
  if (!restrictions || restrictions.length === 0) return true
  const plain = address.replace(/^::ffff:/, '')
  return restrictions.some(({ clientSource }) => clientSource === undefined || listed(clientSource, plain))
}

function listed(sources: readonly string[], address: string): boolean {
  const list = new BlockList()
  for (const source of sources) {
    const [network = '', bits] = source.split('/')
    const family = isIPv6(network) ? 'ipv6' : 'ipv4'
    if (bits === undefined) list.addAddress(network, family)
    else list.addSubnet(network, Number(bits), family)
  }
  return list.check(address, isIPv6(address) ? 'ipv6' : 'ipv4')
}
