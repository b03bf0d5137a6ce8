/** Requests of commands to the admin interface of a running proxy. */
import { readFileSync } from 'node:fs'
import { errorCode, Fault } from '../errors.js'
import { describePath } from '../redaction.js'

export const DEFAULT_ADMIN_URL = 'http://127.0.0.1:9216'
/** An answer takes milliseconds, and the admin interface closes a connection after 15 s. Milliseconds. */
const TIMEOUT_MS = 20_000
const MAX_LIST = 20_000
const PAGE = 1_000

export type AdminFlags = { url?: string | undefined; tokenFile?: string | undefined }

export type AskAdmin = (method: 'GET' | 'POST' | 'DELETE', path: string, body?: unknown) => Promise<unknown>

/** Throws `usage` for a wrong URL or token file. The returned function throws `admin/failed`. */
export function createAdminRequester({ url = DEFAULT_ADMIN_URL, tokenFile }: AdminFlags): AskAdmin {
  const base = parseUrl(url)
  const token = tokenFile === undefined ? undefined : readToken(tokenFile)
  return async (method, path, body) => {
    const response = await fetch(new URL(path, base), {
      method,
      headers: {
        ...(token !== undefined && { authorization: `Bearer ${token}` }),
        ...(body !== undefined && { 'content-type': 'application/json' }),
      },
      ...(body !== undefined && { body: JSON.stringify(body) }),
      redirect: 'error', // the token is for this address alone
      signal: AbortSignal.timeout(TIMEOUT_MS),
    }).catch((thrown: Error) => {
      throw new Fault('admin/failed', `it cannot be reached (${errorCode(thrown.cause) ?? thrown.name})`)
    })
    const text = await response.text()
    if (!response.ok) throw new Fault('admin/failed', `${response.status}: ${text.trim().slice(0, 500)}`)
    try {
      return JSON.parse(text)
    } catch {
      throw new Fault('admin/failed', 'the answer is not JSON: is this the port of the admin interface?')
    }
  }
}

/** All entries of a list that has pages. */
export async function askForAll(ask: AskAdmin, path: string): Promise<unknown[]> {
  const items: unknown[] = []
  for (let after: number | null = 0; after !== null && items.length < MAX_LIST; ) {
    const page = (await ask('GET', `${path}?limit=${PAGE}&after=${after}`)) as { items: unknown[]; next: number | null }
    items.push(...page.items)
    after = page.next
  }
  return items
}

function parseUrl(text: string): URL {
  const url = URL.canParse(text) ? new URL(text) : undefined
  if (url?.protocol === 'http:' || url?.protocol === 'https:') {
    if (url.username === '' && url.password === '') return url
  }
  throw new Fault('usage', '--admin needs a URL like http://127.0.0.1:9216')
}

function readToken(file: string): string {
  try {
    const token = readFileSync(file, 'utf8').trim()
    if (/^[\x21-\x7e]{1,512}$/.test(token)) return token
  } catch (thrown) {
    throw new Fault('usage', `--token-file: cannot read ${describePath(file)} (${errorCode(thrown)})`)
  }
  throw new Fault('usage', `--token-file: ${describePath(file)} does not hold one line with a token`)
}
