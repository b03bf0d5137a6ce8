/** Remedies for STS errors whose code does not explain itself, for the client and for the operator. */
import { isOptInRegion } from './partition.js'
import { guessTokenProblem, type Proof } from './proof.js'

const remedies: Readonly<Record<string, (proof: Proof) => string | undefined>> = {
  AccessDenied: () =>
    'The endpoint policy of the VPC endpoint through which the proxy calls STS must allow sts:GetCallerIdentity for this principal',
  RegionDisabledException: ({ region }) =>
    `Enable the region ${region} in this AWS account, or let sts.hosts begin with the host of a region that every account has enabled`,
  InvalidClientTokenId: proof => {
    const { token, challenge, region } = proof
    if (token === undefined) return undefined
    const problem = guessTokenProblem(proof)
    if (problem !== undefined) return `The session token looks damaged: it ${problem}`
    return isOptInRegion(challenge.host, region)
      ? `The session token may be of version 1, which is not valid in ${region}: get it from a regional STS endpoint, or let the global endpoint issue version 2`
      : undefined
  },
}

/** Undefined if there is nothing to add to the message of AWS. */
export function findRemedy(code: string | undefined, proof: Proof): string | undefined {
  return code !== undefined && Object.hasOwn(remedies, code) ? remedies[code]?.(proof) : undefined
}
