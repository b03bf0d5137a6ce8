/** Requests to the admin interface, and its responses. */

/** The peer of a connection. */
export type AdminPeer = { address: string | undefined; port: number | undefined }

export type AdminRequest = {
  method: string
  /** Without the query. */
  path: string
  query: URLSearchParams
  /** Header values by lower-case name. */
  headers: Readonly<Record<string, string | string[] | undefined>>
  peer: AdminPeer
  /** Returns the body as text; undefined if it is longer than `maxBytes` or incomplete. */
  readBody(maxBytes: number): Promise<string | undefined>
}

export type AdminResponse = {
  status: number
  type: string
  body: string
  headers?: Readonly<Record<string, string>>
  /** For the audit trail: what the request was about. */
  target?: string
}

/** Creates a response with one line of text. */
export const textResponse = (status: number, line: string, headers: AdminResponse['headers'] = {}): AdminResponse => ({
  status,
  type: 'text/plain; charset=utf-8',
  body: `${line}\n`,
  headers,
})

export const jsonResponse = (status: number, value: unknown): AdminResponse => ({
  status,
  type: 'application/json',
  body: `${JSON.stringify(value)}\n`,
})
