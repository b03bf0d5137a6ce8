/** GetCallerIdentity from this machine: the ARN that AWS sees, and the clock of AWS. */
import { Fault } from '../../errors.js'
import { validateProof } from '../../identity/proof.js'
import { createStsClient } from '../../identity/sts.js'
import { randomBytes } from '../../random.js'
import { PROXY_NAME, VERSION } from '../../upstream/metadata.js'
import type { SignProof } from './awsSdk.js'
import type { AwsKeys, CallerEvidence } from './credentialDiagnosis.js'
import { within } from './network.js'
import type { StsEndpoint } from './stsEndpoint.js'

export type CallerOptions = { keys: AwsKeys; endpoint: StsEndpoint; sign: SignProof; timeoutMS: number }

/** `clockMS`: how far the clock of AWS is ahead of ours, in milliseconds; undefined if AWS did not answer. */
export type CallerAnswer = { evidence: CallerEvidence; clockMS: number | undefined }

/** Signs a challenge of our own, so that the same code signs, sends and reads as in a login. Never rejects. */
export async function askCaller({ keys, endpoint, sign, timeoutMS }: CallerOptions): Promise<CallerAnswer> {
  let client: ReturnType<typeof createStsClient> | undefined
  try {
    client = createStsClient({
      hosts: [endpoint],
      timeoutMS,
      userAgent: `${PROXY_NAME}-doctor/${VERSION}`,
      now: Date.now,
      maxSockets: 1,
    })
    const challenge = { nonce: randomBytes(64), host: endpoint.host }
    const date = new Date()
    const proof = validateProof(await sign(keys, challenge, date), challenge, date)
    const evidence = await client.getCallerIdentity(proof, timeoutMS, AbortSignal.timeout(2 * timeoutMS))
    const isAnswer = evidence.is === 'identity' || evidence.is === 'refused'
    return { evidence, clockMS: isAnswer ? client.clockSkewMS() : undefined }
  } catch (thrown) {
    return { evidence: { is: 'failed', why: Fault.from(thrown).message }, clockMS: undefined }
  } finally {
    if (client) await within(timeoutMS, client.close()).catch(() => {})
  }
}
