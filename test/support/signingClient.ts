/** What drivers do with AWS credentials: the signed client-final message of MONGODB-AWS. */
import { SignatureV4 } from '@smithy/signature-v4'
import { Sha256 } from '../../sandbox/src/aws/sha256.js'

export type ClientCredentials = { accessKeyId: string; secretAccessKey: string; sessionToken?: string }

/** The fields of client-final: the Authorization header, its date, the session token where there is one. */
export type ClientFinal = { a: string; d: string; t?: string }

/** What to sign. The options after `host` imitate an attacker or a faulty driver. */
export type SigningOptions = {
  /** All 64 bytes of the server's nonce. */
  nonce: Uint8Array
  /** As the server offered it. */
  host: string
  /** The date of the signature and its scope. Default: now. */
  date?: Date
  /** The region of the scope. Default: that of the host, by the rule of drivers. */
  region?: string
  service?: string
  body?: string
  /** Names (lower case) that the signature does not cover. */
  signedHeadersWithout?: readonly string[]
  /** Further signed headers; they replace those of the same name. */
  extraHeaders?: Readonly<Record<string, string>>
}

export const BODY = 'Action=GetCallerIdentity&Version=2011-06-15'

/** Signs as drivers do. */
export async function signClientFinal(credentials: ClientCredentials, signing: SigningOptions): Promise<ClientFinal> {
  const { host, date = new Date(), region = regionOf(host), service = 'sts', body = BODY } = signing
  const signer = new SignatureV4({ credentials, region, service, sha256: Sha256, applyChecksum: false })
  const { headers } = await signer.sign(
    {
      method: 'POST',
      protocol: 'https:',
      hostname: host,
      path: '/',
      headers: { ...unsigned(signing), ...signing.extraHeaders },
      body,
    },
    { signingDate: date, unsignableHeaders: new Set(signing.signedHeadersWithout) },
  )
  const [a, d] = [headers.authorization as string, headers['x-amz-date'] as string]
  return credentials.sessionToken === undefined ? { a, d } : { a, d, t: credentials.sessionToken }
}

/** The headers of the POST to STS for these fields, as the proxy must send them. */
export function stsHeaders({ a, d, t }: ClientFinal, signing: SigningOptions): Record<string, string> {
  return {
    ...unsigned(signing),
    'x-amz-date': d,
    ...(t !== undefined && { 'x-amz-security-token': t }),
    ...signing.extraHeaders,
    authorization: a,
  }
}

function unsigned({ host, nonce, body = BODY }: SigningOptions): Record<string, string> {
  return {
    host,
    'content-type': 'application/x-www-form-urlencoded',
    'content-length': String(Buffer.byteLength(body)),
    'x-mongodb-server-nonce': Buffer.from(nonce).toString('base64'),
    'x-mongodb-gs2-cb-flag': 'n',
  }
}

/** The rule of drivers: the second label, but us-east-1 for the global host and for a name without a dot. */
function regionOf(host: string): string {
  const [, region] = host.split('.')
  return region === undefined || host === 'sts.amazonaws.com' ? 'us-east-1' : region
}
