/** The URL of an HTTP proxy. An operator may write credentials into it, so it is never shown. */
import { z } from 'zod'
import { kind } from './definition.js'

const error = 'expected a URL like http://proxy.example.com:3128 (not shown)'
const CREDENTIALS_INSIDE = 'must not hold credentials: write user:password into sts.proxyCredentialsFile'

/** `http://host:port` in lower case, without a path. */
export const proxyUrl = kind(
  z.string({ error }).transform((text, context): string => {
    const refuse = (message: string) => {
      context.addIssue({ code: 'custom', message, input: text })
      return z.NEVER
    }
    if (/^[^/]*\/\/.*@/.test(text)) return refuse(CREDENTIALS_INSIDE)
    const form = /^https?:\/\/(?:[a-z0-9._-]+|\[[0-9a-f.:]+\])(?::\d{1,5})?\/?$/i
    const url = form.test(text) && URL.canParse(text) ? new URL(text) : undefined
    return url ? url.origin : refuse(error)
  }),
  { secret: true },
)
