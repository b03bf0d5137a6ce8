/** The body of a call, as much of it as AWS reads. */
import type { IncomingMessage } from 'node:http'

/** In bytes. */
const LONGEST = 65_536
/** AWS turns away what is too large with an empty body and no headers at all. */
export const TOO_LARGE = 'HTTP/1.1 413 Request Entity Too Large\r\n\r\n'

/** Reads a whole body, or turns the request away where it is too long. */
export function collectBody(request: IncomingMessage, done: (body: Buffer) => void): void {
  const chunks: Buffer[] = []
  let length = 0
  request.on('data', (chunk: Buffer) => {
    const before = length
    length += chunk.length
    if (length <= LONGEST) chunks.push(chunk)
    else if (before <= LONGEST) request.socket.end(TOO_LARGE)
    else if (length > 16 * LONGEST) request.socket.destroy()
  })
  request.on('end', () => {
    if (length <= LONGEST) done(Buffer.concat(chunks, length))
  })
}
