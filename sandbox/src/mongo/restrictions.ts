/** `authenticationRestrictions` of a user: the addresses from which it may log in. */
import { BlockList, isIP, isIPv6 } from 'node:net'
import type { Document } from 'bson'
import { CommandError } from './commandError.js'
import { checkFields } from './fields.js'
import { isDocument } from './order.js'

/**
 * The restrictions of a command. The command's table of fields has checked that they are an array. Throws
 * Location40415, TypeMismatch, CollectionIsEmpty for a restriction without a field, and BadValue for a malformed network.
 */
export function readRestrictions(restrictions: readonly unknown[]): Document[] {
  return restrictions.map(one => {
    const path = 'authenticationRestrictions'
    if (!isDocument(one)) throw new CommandError('TypeMismatch', `BSON field '${path}' needs to contain objects`)
    checkFields(path, one, { clientSource: 'array?', serverAddress: 'array?' })
    const { clientSource, serverAddress } = one as { clientSource?: unknown[]; serverAddress?: unknown[] }
    if (clientSource === undefined && serverAddress === undefined) {
      throw new CommandError('CollectionIsEmpty', "At least one of 'clientSource' or 'serverAddress' must be set")
    }
    for (const source of [...(clientSource ?? []), ...(serverAddress ?? [])]) {
      if (typeof source !== 'string') throw new CommandError('TypeMismatch', `'${path}' needs to contain strings`)
      if (!isNetwork(source)) throw new CommandError('BadValue', `Invalid IP address in CIDR string: ${source}`)
    }
    return one
  })
}

/** `10.0.0.1`, `10.0.0.0/8` or the same of IPv6. */
function isNetwork(text: string): boolean {
  const [, address = '', bits] = /^([^/]+)(?:\/(\d{1,3}))?$/.exec(text) ?? []
  const family = isIP(address)
  return family !== 0 && (bits === undefined || Number(bits) <= (family === 4 ? 32 : 128))
}

/** True without restrictions, or if the address of the client meets one of them. `serverAddress` is not enforced. */
export function isAllowedFrom(restrictions: readonly Document[] | undefined, address: string): boolean {
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
