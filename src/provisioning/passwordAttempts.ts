/** A login as a provisioned user: one password after the other, each over a connection of its own. */
import { Fault } from '../errors.js'
import type { Secret } from '../log.js'
import { rejectOnAbort } from '../upstream/deadline.js'
import type { DatabaseUser } from '../users/match.js'
import type { Provisioner, UserCredentials } from './provisioner.js'
import type { DesiredUser } from './reconciler.js'

/** Begins an upstream connection as this user. Throws `upstream/authentication-failed` where the upstream does not take the password. */
export type ConnectAs<T> = (user: DatabaseUser & { password: Secret }) => Promise<T>

/**
 * Gives what `begin` gives for the first password that is taken. Throws what `begin` throws, `upstream/authentication-failed` once
 * nothing is left to try, what the provisioner throws, and the signal's reason: then others go on who wait for the same.
 */
export async function logInWithPasswords<T>(
  { ensureUser: user, handleRefusal: refused }: Provisioner,
  wanted: DesiredUser,
  begin: ConnectAs<T>,
  signal: AbortSignal,
): Promise<T> {
  const access = await rejectOnAbort(signal, user(wanted))
  const first = await firstTaken(access, begin)
  if (!(first instanceof Fault)) return first
  const second = await firstTaken(await rejectOnAbort(signal, refused(wanted, access)), begin)
  if (second instanceof Fault) throw second
  return second
}

/** What came of the first password that is taken, or the fault of the last that is not. */
async function firstTaken<T>({ user, passwords }: UserCredentials, begin: ConnectAs<T>): Promise<T | Fault> {
  let last = new Fault('upstream/authentication-failed')
  for (const password of passwords) {
    try {
      return await begin({ ...user, password })
    } catch (thrown) {
      const fault = Fault.from(thrown)
      if (!isRefusedPassword(fault)) throw thrown
      last = fault
    }
  }
  return last
}

const AUTHENTICATION_FAILED = 18

/** A wrong password, not a mechanism that is off. Servers say it by the code, some by SCRAM's own error. */
function isRefusedPassword(fault: Fault): boolean {
  const { code, error } = fault.data('upstream/authentication-failed') ?? {}
  return code === AUTHENTICATION_FAILED || error !== undefined
}
