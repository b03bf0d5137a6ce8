/**
 * The optional packages of the AWS SDK, which `doctor` alone loads: the chain of credential sources, and the signer.
 *
 * Signature Version 4 is not written here a second time: the chain brings the signer along. The names of the packages are
 * values, so that the program compiles without them.
 */
import { createHash, createHmac, type Hash, type Hmac } from 'node:crypto'
import { signingRegion } from '../../identity/proof.js'
import { Secret } from '../../log.js'
import type { Challenge, ProofFields } from '../../sasl/aws.js'
import type { AwsKeys, CredentialEvidence } from './credentialDiagnosis.js'
import { within } from './network.js'

type SdkCredentials = {
  accessKeyId: string
  secretAccessKey: string
  sessionToken?: string
  expiration?: Date
  $source?: Record<string, unknown>
}
type Providers = {
  fromNodeProviderChain(options: { logger: Logger }): () => Promise<SdkCredentials>
}
type Logger = Record<'debug' | 'info' | 'warn' | 'error', () => void>
type SignedRequest = { headers: Record<string, string> }
type Signer = {
  SignatureV4: new (options: {
    credentials: { accessKeyId: string; secretAccessKey: string; sessionToken?: string }
    region: string
    service: string
    sha256: typeof Sha256
    applyChecksum: boolean
  }) => { sign(request: object, options: { signingDate: Date }): Promise<SignedRequest> }
}

/** Loads a package; rejects as `import` does. */
export type LoadPackage = (name: string) => Promise<unknown>

const PROVIDERS = '@aws-sdk/credential-providers'
const SIGNER = '@smithy/signature-v4'
/** The versions in package.json; a test compares them. */
export const OPTIONAL_PACKAGES: Readonly<Record<string, string>> = { [PROVIDERS]: '3.1169.0', [SIGNER]: '5.7.5' }
const INSTALL = `npm install ${Object.entries(OPTIONAL_PACKAGES)
  .map(([name, version]) => `${name}@${version}`)
  .join(' ')}`

export const importPackage: LoadPackage = name => import(name)

export type SignProof = (keys: AwsKeys, challenge: Challenge, date: Date) => Promise<ProofFields>

export type AwsSdk = {
  /** The credentials of the environment. Never rejects. */
  findCredentials(ms: number): Promise<CredentialEvidence>
  /** Signs GetCallerIdentity as drivers do. */
  sign: SignProof
}

/** The command that installs the packages, if one is missing. */
export async function loadAwsSdk(load: LoadPackage): Promise<AwsSdk | { install: string }> {
  try {
    const providers = (await load(PROVIDERS)) as Providers
    const signer = (await load(SIGNER)) as Signer
    return {
      findCredentials: ms => findCredentials(providers, ms),
      sign: (keys, challenge, date) => signProof(signer, keys, challenge, date),
    }
  } catch (thrown) {
    if ((thrown as NodeJS.ErrnoException)?.code !== 'ERR_MODULE_NOT_FOUND') throw thrown
    return { install: INSTALL }
  }
}

const ignore = (): void => {}
/** Without a logger of its own, the SDK writes some warnings to the console. */
const silent: Logger = { debug: ignore, info: ignore, warn: ignore, error: ignore }

async function findCredentials({ fromNodeProviderChain }: Providers, ms: number): Promise<CredentialEvidence> {
  try {
    const found = await within(ms, fromNodeProviderChain({ logger: silent })())
    const { accessKeyId, secretAccessKey, sessionToken, expiration, $source = {} } = found
    return {
      is: 'found',
      keys: {
        accessKeyId,
        secretAccessKey: new Secret(secretAccessKey),
        sessionToken: sessionToken ? new Secret(sessionToken) : undefined,
      },
      sources: Object.keys($source),
      expiration: expiration?.getTime(),
    }
  } catch (thrown) {
    if (thrown instanceof DOMException && thrown.name === 'TimeoutError') return { is: 'timeout', ms }
    const { name = '', message = '' } = thrown as Error
    return { is: 'failed', name, message }
  }
}

const BODY = 'Action=GetCallerIdentity&Version=2011-06-15'

async function signProof(
  { SignatureV4 }: Signer,
  { accessKeyId, secretAccessKey, sessionToken }: AwsKeys,
  { host, nonce }: Challenge,
  date: Date,
): Promise<ProofFields> {
  const token = sessionToken?.reveal()
  const credentials = {
    accessKeyId,
    secretAccessKey: secretAccessKey.reveal(),
    ...(token !== undefined && { sessionToken: token }),
  }
  const region = signingRegion(host)
  const signer = new SignatureV4({ credentials, region, service: 'sts', sha256: Sha256, applyChecksum: false })
  const request = {
    method: 'POST',
    protocol: 'https:',
    hostname: host,
    path: '/',
    headers: {
      host,
      'content-type': 'application/x-www-form-urlencoded',
      'content-length': String(BODY.length),
      'x-mongodb-server-nonce': nonce.toString('base64'),
      'x-mongodb-gs2-cb-flag': 'n',
    },
    body: BODY,
  }
  const { headers } = await signer.sign(request, { signingDate: date })
  return { a: headers.authorization ?? '', d: headers['x-amz-date'] ?? '', t: token }
}

type Source = string | ArrayBuffer | ArrayBufferView

/** SHA-256, or its HMAC if there is a secret, with the interface that the signer requires. */
class Sha256 {
  readonly #secret: Source | undefined
  #hash: Hash | Hmac

  constructor(secret?: Source) {
    this.#secret = secret
    this.#hash = Sha256.#start(secret)
  }

  update(source: Source): void {
    this.#hash.update(toBytes(source))
  }

  async digest(): Promise<Uint8Array> {
    return this.#hash.digest()
  }

  reset(): void {
    this.#hash = Sha256.#start(this.#secret)
  }

  static #start(secret: Source | undefined): Hash | Hmac {
    return secret === undefined ? createHash('sha256') : createHmac('sha256', toBytes(secret))
  }
}

function toBytes(source: Source): Buffer {
  if (typeof source === 'string') return Buffer.from(source)
  // A view has its own offset and length in its buffer.
  return ArrayBuffer.isView(source)
    ? Buffer.from(source.buffer, source.byteOffset, source.byteLength)
    : Buffer.from(source)
}
