/** What the admin interface is asked, and what it answers. */

export type Asked = {
  method: string
  /** By lower-case name. */
  headers: Readonly<Record<string, string | string[] | undefined>>
  /** What follows the headers, as text; undefined where it is longer than `most` bytes. */
  body(most: number): Promise<string | undefined>
}

export type Answer = { status: number; type: string; body: string; headers?: Readonly<Record<string, string>> }

export const text = (status: number, body: string, headers: Answer['headers'] = {}): Answer => ({
  status,
  type: 'text/plain; charset=utf-8',
  body: `${body}\n`,
  headers,
})

export const json = (status: number, body: unknown): Answer => ({
  status,
  type: 'application/json',
  body: `${JSON.stringify(body)}\n`,
})
