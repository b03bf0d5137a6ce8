/** How a connection to the upstream failed. */
import { Fault } from '../errors.js'

export type ConnectionFailure = 'timeout' | 'closed'

/** The cause of an `upstream/unreachable` fault. Code that retries decides by it, because facts are for the log. */
export class ConnectionError extends Error {
  override readonly name = 'ConnectionError'
  readonly failure: ConnectionFailure

  constructor(failure: ConnectionFailure, cause?: unknown) {
    super(failure, cause === undefined ? undefined : { cause })
    this.failure = failure
  }
}

/** Undefined if the connection did not fail, for example because the member refused a command. */
export function connectionFailureOf(thrown: unknown): ConnectionFailure | undefined {
  return thrown instanceof Fault && thrown.cause instanceof ConnectionError ? thrown.cause.failure : undefined
}
