/** Connection strings. They may hold a password, so they are never shown. Only their form is checked here. */
import { ConnectionString } from 'mongodb-connection-string-url'
import { z } from 'zod'
import { kind } from './definition.js'

const error = 'expected a URI like mongodb://mongo.example.com:27017/ (not shown)'

/** Why a text is not a usable connection string; undefined if it is one. */
export function uriProblem(text: string): string | undefined {
  try {
    new ConnectionString(text)
    return undefined
  } catch {
    return error
  }
}

export const uri = kind(
  z.string({ error }).superRefine((text, context) => {
    const message = uriProblem(text)
    if (message !== undefined) context.addIssue({ code: 'custom', message })
  }),
  { secret: true },
)

const CLIENT_CERTIFICATE_OPTIONS = ['tlscertificatekeyfile', 'tlscertificatekeyfilepassword']

/** The connection string without the file that holds the private key of the client certificate. */
export function withoutClientCertificate(text: string): string {
  if (uriProblem(text) !== undefined) return text
  const uri = new ConnectionString(text)
  for (const name of [...uri.searchParams.keys()]) {
    if (CLIENT_CERTIFICATE_OPTIONS.includes(name.toLowerCase())) uri.searchParams.delete(name)
  }
  return uri.toString()
}
