/** What the admin interface is asked, and what it answers. */

export type AdminRequest = {
  method: string
  /** By lower-case name. */
  headers: Readonly<Record<string, string | string[] | undefined>>
  /** What follows the headers, as text; undefined where it is longer than `most` bytes. */
  body(most: number): Promise<string | undefined>
}

export type AdminResponse = { status: number; type: string; body: string; headers?: Readonly<Record<string, string>> }

export const textResponse = (status: number, body: string, headers: AdminResponse['headers'] = {}): AdminResponse => ({
  status,
  type: 'text/plain; charset=utf-8',
  body: `${body}\n`,
  headers,
})

export const jsonResponse = (status: number, body: unknown): AdminResponse => ({
  status,
  type: 'application/json',
  body: `${JSON.stringify(body)}\n`,
})
