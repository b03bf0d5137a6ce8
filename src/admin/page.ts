/** Pages of lists: `?limit=100&after=CURSOR`. A response has `next`, the cursor of the next page, or null. */
import { z } from 'zod'
import { type AdminRequest, type AdminResponse, jsonResponse, textResponse } from './http.js'

const DEFAULT_LIMIT = 100
export const MAX_LIMIT = 1_000

const number = (least: number, most: number, fallback: number) =>
  z
    .string()
    .regex(/^\d{1,15}$/)
    .transform(Number)
    .refine(value => value >= least && value <= most)
    .default(fallback)

const query = z.strictObject({ limit: number(1, MAX_LIMIT, DEFAULT_LIMIT), after: number(0, 1e15, 0) })

export type Page = z.output<typeof query>

/** The query parameters of a list, for the OpenAPI document. */
export const PAGE_PARAMETERS = [
  { name: 'limit', description: 'Entries per page.', schema: z.int().min(1).max(MAX_LIMIT).default(DEFAULT_LIMIT) },
  { name: 'after', description: 'The `next` of the page before.', schema: z.int().min(0).default(0) },
] as const

export const pageOf = <S extends z.ZodType>(item: S) =>
  z.strictObject({
    items: z.array(item).max(MAX_LIMIT),
    next: z.int().nullable().describe('Cursor of the next page; null if this is the last one.'),
  })

/** Answers with a page of what `list` returns for it. */
export function respondWithPage(
  request: Pick<AdminRequest, 'query'>,
  list: (page: Page) => { items: readonly unknown[]; next: number | null },
): AdminResponse {
  const { data } = query.safeParse(Object.fromEntries(request.query))
  if (!data) return textResponse(400, `the query may have limit (1 to ${MAX_LIMIT}) and after, the next of a page`)
  return jsonResponse(200, list(data))
}

/** A page of a list whose cursors are positions. */
export function slicePage<T>(all: readonly T[], { limit, after }: Page): { items: readonly T[]; next: number | null } {
  const end = after + limit
  return { items: all.slice(after, end), next: end < all.length ? end : null }
}
