/** Reads request bodies up to the limit of AWS. */
import type { IncomingMessage } from 'node:http'

/** Bytes. */
const MAX_LENGTH = 65_536
/** AWS rejects a request that is too large with an empty body and no headers. */
export const TOO_LARGE = 'HTTP/1.1 413 Request Entity Too Large\r\n\r\n'

/** Calls `done` with the complete body, or rejects the request if the body is too long. */
export function collectBody(request: IncomingMessage, done: (body: Buffer) => void): void {
  const chunks: Buffer[] = []
  let length = 0
  request.on('data', (chunk: Buffer) => {
    const before = length
    length += chunk.length
    if (length <= MAX_LENGTH) chunks.push(chunk)
    else if (before <= MAX_LENGTH) request.socket.end(TOO_LARGE)
    else if (length > 16 * MAX_LENGTH) request.socket.destroy()
  })
  request.on('end', () => {
    if (length <= MAX_LENGTH) done(Buffer.concat(chunks, length))
  })
}
