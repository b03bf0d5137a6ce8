/** The login as a provisioned user: one password after another, each on a connection of its own. */
import { Fault } from '../errors.js'
import type { Secret } from '../log.js'
import { rejectOnAbort } from '../upstream/deadline.js'
import type { DatabaseUser } from '../users/match.js'
import type { Provisioner, UserCredentials } from './provisioner.js'
import type { DesiredUser } from './reconciler.js'

/** Connects to the upstream as this user. Rejects with `upstream/authentication-failed` if the password is refused. */
export type ConnectAs<T> = (user: DatabaseUser & { password: Secret }) => Promise<T>

/** Returns a step after it has begun to measure it. */
export type TimeStep = <T>(step: Promise<T>) => Promise<T>

/**
 * Resolves to the result of `connect` for the first password that the upstream accepts. Rejects with the faults of
 * `connect` and of the provisioner, with `upstream/authentication-failed` when all passwords are refused, and with the
 * reason of the signal. An abort does not stop the provisioner, because other logins may wait for the same user.
 * `time` gets each step of the provisioner.
 */
export async function logInWithPasswords<T>(
  provisioner: Pick<Provisioner, 'ensureUser' | 'handleRefusal'>,
  desired: DesiredUser,
  connect: ConnectAs<T>,
  signal: AbortSignal,
  time: TimeStep = step => step,
): Promise<T> {
  const credentials = await time(rejectOnAbort(signal, provisioner.ensureUser(desired)))
  const first = await tryPasswords(credentials, connect)
  if (!(first instanceof Fault)) return first
  const others = await time(rejectOnAbort(signal, provisioner.handleRefusal(desired, credentials)))
  const second = await tryPasswords(others, connect)
  if (second instanceof Fault) throw second
  return second
}

/** The result for the first accepted password, or the fault of the last refused one. */
async function tryPasswords<T>({ user, passwords }: UserCredentials, connect: ConnectAs<T>): Promise<T | Fault> {
  let last = new Fault('upstream/authentication-failed')
  for (const password of passwords) {
    try {
      return await connect({ ...user, password })
    } catch (thrown) {
      const fault = Fault.from(thrown)
      if (!isRefusedPassword(fault)) throw thrown
      last = fault
    }
  }
  return last
}

const AUTHENTICATION_FAILED = 18

/** Tells a wrong password from, say, a disabled mechanism. Servers report it by the code, or by the error of SCRAM. */
function isRefusedPassword(fault: Fault): boolean {
  const { code, error } = fault.data('upstream/authentication-failed') ?? {}
  return code === AUTHENTICATION_FAILED || error !== undefined
}
