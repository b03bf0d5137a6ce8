/**
 * The one error type that the sandbox throws at the program that runs it. Errors for its clients are replies, not
 * exceptions: see `aws/reply.ts` and `mongo/commandError.ts`.
 */

/**
 * - `invalid`: the caller asked for something that AWS or MongoDB would not have created, for example a duplicate user
 * - `addressInUse`: a server cannot listen on its port
 * - `malformedMessage`: the bytes of a client are no message of the MongoDB wire protocol
 * - `connectionClosed`: a fail point closes the connection of a client
 */
export type SandboxErrorCode = 'invalid' | 'addressInUse' | 'malformedMessage' | 'connectionClosed'

export class SandboxError extends Error {
  override readonly name = 'SandboxError'
  readonly code: SandboxErrorCode

  constructor(code: SandboxErrorCode, message: string, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause })
    this.code = code
  }
}
