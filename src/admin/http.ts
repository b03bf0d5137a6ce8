/** Requests to the admin interface, and its responses. */

export type AdminRequest = {
  method: string
  /** Header values by lower-case name. */
  headers: Readonly<Record<string, string | string[] | undefined>>
  /** Returns the body as text; undefined if it is longer than `maxBytes` or incomplete. */
  readBody(maxBytes: number): Promise<string | undefined>
}

export type AdminResponse = { status: number; type: string; body: string; headers?: Readonly<Record<string, string>> }

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
