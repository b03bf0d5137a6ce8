/** Proofs of clients, signed by the code of a real driver. */
import { createRequire } from 'node:module'
import type { Challenge, ProofFields } from '../../src/sasl/aws.js'

type Sign = (
  request: {
    method: 'POST'
    host: string
    path: '/'
    body: string
    region: string
    service: 'sts'
    date: Date
    headers: Record<string, string | number>
  },
  credentials: Credentials,
) => Promise<{ Authorization: string; 'X-Amz-Date': string }>

export type Credentials = { accessKeyId: string; secretAccessKey: string; sessionToken?: string }

const { aws4Sign } = createRequire(import.meta.url)('mongodb/lib/cmap/auth/aws4.js') as { aws4Sign: Sign }

export const alice: Credentials = { accessKeyId: 'AKIASP2TPHJSQH3FJXYZ', secretAccessKey: 'not/so+secret' }
export const orders: Credentials = {
  accessKeyId: 'ASIAY34FZKBOKMUTVV7A',
  secretAccessKey: 'nor/is+this',
  sessionToken: 'FwoGZXIvYXdzEA//token+==',
}

export const challenge: Challenge = { nonce: Buffer.alloc(64, 0xfb), host: 'sts.eu-west-1.amazonaws.com' }
export const date = new Date('2026-08-13T12:00:00Z')

/** The fields of client-final, as the `mongodb` driver makes them. `date` is of whole seconds. */
export async function signAsDriver(credentials: Credentials, to = challenge, at = date): Promise<ProofFields> {
  const body = 'Action=GetCallerIdentity&Version=2011-06-15'
  const headers = await aws4Sign(
    {
      method: 'POST',
      host: to.host,
      path: '/',
      body,
      region: to.host === 'sts.amazonaws.com' ? 'us-east-1' : (to.host.split('.')[1] ?? 'us-east-1'),
      service: 'sts',
      date: at,
      headers: {
        'Content-Type': 'application/x-www-form-urlencoded',
        'Content-Length': body.length,
        'X-MongoDB-Server-Nonce': to.nonce.toString('base64'),
        'X-MongoDB-GS2-CB-Flag': 'n',
      },
    },
    credentials,
  )
  return { a: headers.Authorization, d: headers['X-Amz-Date'], t: credentials.sessionToken }
}
