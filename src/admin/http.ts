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

/** A response that has no end yet. */
export type ResponseStream = {
  /** Bytes that the client has not read. */
  readonly unreadBytes: number
  write(bytes: Buffer): void
  /** Ends the response behind what was written. */
  end(): void
  /** Closes the connection at once. */
  destroy(): void
  onClose(run: () => void): void
}

export type AdminResponse = {
  status: number
  type: string
  body: string
  /** Sent as they are, in place of `body`. */
  bytes?: Buffer
  /** Gets the response when its headers are sent, in place of `body`. Not called if the client has disconnected. */
  stream?(response: ResponseStream): void
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
