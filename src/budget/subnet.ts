/** What counts as one client address: an IPv4 address, or the /64 of an IPv6 one, as a single machine owns all of it. */

const DOTTED = /^(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})$/

/** The address itself, or `2001:db8:0:1::/64`. An IPv4 address that was mapped to IPv6 is the same as itself. */
export function toSubnet(address: string): string {
  if (!address.includes(':')) return address
  const groups = groupsOf(address.replace(/%.*$/, '').toLowerCase())
  const [first = 0, second = 0] = groups.slice(6)
  if (groups.slice(0, 5).every(group => group === 0) && groups[5] === 0xffff) {
    return [first >> 8, first & 255, second >> 8, second & 255].join('.')
  }
  return `${groups
    .slice(0, 4)
    .map(group => group.toString(16))
    .join(':')}::/64`
}

/** The eight numbers of an IPv6 address; what is left out between two colons are zeros. */
function groupsOf(address: string): number[] {
  const [head = [], tail] = address.split('::').map(numbersOf)
  if (tail === undefined) return head
  return [...head, ...Array<number>(Math.max(0, 8 - head.length - tail.length)).fill(0), ...tail]
}

function numbersOf(part: string): number[] {
  if (part === '') return []
  return part.split(':').flatMap(group => {
    const [, a, b, c, d] = (DOTTED.exec(group) ?? []).map(Number)
    return a === undefined ? [Number.parseInt(group, 16) || 0] : [a * 256 + Number(b), Number(c) * 256 + Number(d)]
  })
}
