/** Diagnoses of the hello of the proxy: is it a MongoDB, which replica set does it present, and which mechanisms has it? */
import { type Diagnosis, failure, note, ok, warning } from './diagnosis.js'

/** The fields of a hello that a driver depends on. */
export type HelloFacts = {
  setName: string | undefined
  /** The address that drivers of a replica set connect to. */
  advertised: string | undefined
  isWritable: boolean
  /** A `mongos` reports `isdbgrid`. */
  isMongos: boolean
}

export function diagnoseHello({ setName, isWritable, isMongos }: HelloFacts): Diagnosis {
  if (isMongos) return ok('answers as a mongos')
  if (isWritable)
    return ok(setName === undefined ? 'answers as a single server' : `answers as the primary of ${setName}`)
  return warning(
    'answers, but has no primary at the moment: logins wait for one, and fail with code 6 if none is elected',
  )
}

export type ReplicaSetExpectation = {
  /** From the connection string, or from the TXT record of its name. */
  replicaSet: string | undefined
  isDirect: boolean
  /** The address that was connected to. */
  address: string
}

/** Compares the connection string with the hello, as a driver does before it uses a server. */
export function diagnoseReplicaSet(
  { setName, isMongos }: HelloFacts,
  { replicaSet, isDirect }: ReplicaSetExpectation,
): Diagnosis {
  if (replicaSet !== undefined && setName === undefined) {
    const what = isMongos ? 'a mongos' : 'a single server'
    return failure(
      `the connection string says replicaSet=${replicaSet}, and the proxy presents ${what}, so drivers find no server; write directConnection=true instead`,
    )
  }
  if (replicaSet !== undefined && replicaSet !== setName) {
    return failure(
      `the connection string says replicaSet=${replicaSet}, and the proxy presents ${setName}, so drivers find no server; write replicaSet=${setName}`,
    )
  }
  if (replicaSet !== undefined) return ok(`${setName}, as in the connection string`)
  if (setName === undefined) return ok('none, and the connection string names none')
  const remedy = `write replicaSet=${setName}, so that every driver follows an election`
  return isDirect
    ? warning(`the proxy presents ${setName}, and the connection string says directConnection=true; ${remedy}`)
    : warning(`the proxy presents ${setName}, and the connection string names no set; ${remedy}`)
}

/** The advertised address, if drivers connect to another one than the connection string names. */
export function findOtherAddress(
  { setName, advertised }: HelloFacts,
  { address, isDirect }: ReplicaSetExpectation,
): string | undefined {
  if (isDirect || setName === undefined || advertised === undefined) return undefined
  return advertised.toLowerCase() === address.toLowerCase() ? undefined : advertised
}

/** `problem`: why the advertised address cannot be reached; undefined if it can be. */
export function diagnoseAdvertised(address: string, problem: string | undefined): Diagnosis {
  return problem === undefined
    ? ok('can be reached; drivers connect to it, because hello names it')
    : failure(
        `drivers connect to ${address}, because hello names it, and from here ${problem}; its operator must correct listen.advertise`,
      )
}

/** The reply to saslStart. `host`: the STS host of the challenge. */
export type StartEvidence = { host: string } | { code: number; codeName: string; message: string } | { error: string }

const MECHANISM_UNAVAILABLE = 334
const BAD_VALUE = 2

export function diagnoseMechanism(evidence: StartEvidence): Diagnosis {
  if ('host' in evidence) return ok('the server offers MONGODB-AWS')
  if ('error' in evidence) return failure(`the server does not answer saslStart (${evidence.error})`)
  const { code, codeName, message } = evidence
  if (code === MECHANISM_UNAVAILABLE || code === BAD_VALUE) {
    return failure(
      `the server has no MONGODB-AWS (${code} ${codeName}), so it is probably MongoDB itself; use the address of the proxy`,
    )
  }
  return failure(`the server refuses to start a login with ${code} ${codeName}: ${message}`)
}

/** A step that was not tried. */
export const skipped = (why: string): Diagnosis => note(`not tried: ${why}`)
