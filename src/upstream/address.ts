/** Addresses: `host:port`, lower case, IPv6 in brackets. Members are compared by this text, as drivers do. */

export type Address = { host: string; port: number }

const PORT = 27017
const FORM = /^(?:\[([0-9a-f.]*:[0-9a-f:.]+)\]|([^[\]:%\s/?#@]{1,253}))(?::(\d{1,5}))?$/i

/** The parts of an address; a port that is not there is MongoDB's. Undefined for what is none. */
export function parseAddress(text: string): Address | undefined {
  const [, v6, name, digits] = FORM.exec(text) ?? []
  const host = (v6 ?? name ?? '').toLowerCase()
  const port = digits === undefined ? PORT : Number(digits)
  if (host === '' || port < 1 || port > 65_535) return undefined
  return { host, port }
}

export function formatAddress({ host, port }: Address): string {
  return `${host.includes(':') ? `[${host}]` : host}:${port}`
}
