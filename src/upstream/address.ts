/**
 * Addresses of the form `host:port`, in lower case, with IPv6 in brackets. Members are compared by this text, as drivers
 * compare them.
 */

export type Address = { host: string; port: number }

const DEFAULT_PORT = 27017
const GRAMMAR = /^(?:\[([0-9a-f.]*:[0-9a-f:.]+)\]|([^[\]:%\s/?#@]{1,253}))(?::(\d{1,5}))?$/i

/** Undefined if the text is not an address. A missing port is MongoDB's. */
export function parseAddress(text: string): Address | undefined {
  const [, ipv6, name, digits] = GRAMMAR.exec(text) ?? []
  const host = (ipv6 ?? name ?? '').toLowerCase()
  const port = digits === undefined ? DEFAULT_PORT : Number(digits)
  if (host === '' || port < 1 || port > 65_535) return undefined
  return { host, port }
}

export function formatAddress({ host, port }: Address): string {
  return `${host.includes(':') ? `[${host}]` : host}:${port}`
}
