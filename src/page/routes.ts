/**
 * The routes of the status page: the page, its event stream and its files. They are not in the OpenAPI document, because programs
 * have the JSON.
 */
import { textResponse } from '../admin/http.js'
import type { Operation, Routes } from '../admin/routes.js'
import type { Assets } from './assets.js'
import type { EventStreams } from './eventStreams.js'

export type PageRoutesOptions = {
  assets: Pick<Assets, 'files'>
  streams: Pick<EventStreams, 'isFull' | 'open'>
  /** Returns the document. */
  renderPage(): string
  /** Whether a request that has got a stream may still read: tokens are removed and logins end. */
  isPermitted(request: Parameters<Operation['run']>[0]): boolean
}

/** Scripts come from files of ours alone, and only the policy `status-page` makes HTML of text. */
export const PAGE_HEADERS = {
  'content-security-policy': [
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self'",
    "img-src 'self' data:",
    "connect-src 'self'",
    "form-action 'self'",
    "base-uri 'none'",
    "frame-ancestors 'none'",
    "require-trusted-types-for 'script'",
    'trusted-types status-page',
  ].join('; '),
  'referrer-policy': 'no-referrer',
  'cross-origin-opener-policy': 'same-origin',
} as const

/** The address of a file contains its hash. */
const CACHE_FOREVER = 'public, max-age=31536000, immutable'
/** When all streams are taken. A browser that gives up its stream makes room at any time. */
const RETRY_SECONDS = 15

export function createPageRoutes({ assets, streams, renderPage, isPermitted }: PageRoutesOptions): Routes {
  return {
    '/': {
      GET: {
        access: 'read',
        summary: 'The status page.',
        run: () => ({ status: 200, type: 'text/html; charset=utf-8', body: renderPage(), headers: PAGE_HEADERS }),
      },
    },
    '/events': {
      GET: {
        access: 'read',
        summary: 'What changes on the status page, as server-sent events.',
        run: request =>
          streams.isFull
            ? textResponse(503, 'too many event streams are open; close a browser tab that shows this page', {
                'retry-after': `${RETRY_SECONDS}`,
              })
            : {
                status: 200,
                type: 'text/event-stream',
                body: '',
                stream: response => streams.open(response, () => isPermitted(request)),
              },
      },
    },
    ...Object.fromEntries(
      assets.files.map(({ address, type, bytes }) => [
        address,
        {
          GET: {
            access: 'open',
            summary: 'A file of the status page.',
            run: () => ({ status: 200, type, body: '', bytes, headers: { 'cache-control': CACHE_FOREVER } }),
          },
        } as const,
      ]),
    ),
  }
}
