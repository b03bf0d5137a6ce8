/** An STS that is not well, for `misbehave` of the sandbox's: by what it answers, or does not. */
import type { ServerResponse } from 'node:http'
import type { FaultInjection } from '../../sandbox/src/aws/sts.js'

const answering =
  (status: number, type: string, text: string): FaultInjection =>
  (_request, response) => {
    response.writeHead(status, { 'Content-Type': type, 'Content-Length': Buffer.byteLength(text) }).end(text)
  }

const failure = '<ErrorResponse><Error><Type>Receiver</Type><Code>InternalFailure</Code></Error></ErrorResponse>'

export const stsFailures = {
  /** The page of a firewall in between. */
  forbiddenPage: answering(403, 'text/html', '<html><body><h1>403 Forbidden</h1></body></html>'),
  internalFailure: answering(500, 'text/xml', failure),
  unavailable: answering(503, 'text/xml', failure),
  /** An answer of 200 that is no XML to the end. */
  garbage: answering(200, 'text/xml', '<GetCallerIdentityResponse><GetCallerIdentityResult><Arn>arn:aws:'),
  redirect: (_request, response) => {
    response.writeHead(302, { Location: 'http://127.0.0.1:1/', 'Content-Length': 0 }).end()
  },
  /** As AWS turns away what is too large: no body and no headers. */
  tooLarge: (_request, response) => raw(response, 'HTTP/1.1 413 Request Entity Too Large\r\n\r\n'),
  hang: () => {},
  /** The connection ends in the middle of the answer. */
  breakOff: (_request, response) => raw(response, 'HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n<GetCaller'),
  reset: request => request.socket.destroy(),
  /** Longer than any answer of STS. */
  endless: answering(200, 'text/xml', `<GetCallerIdentityResponse>${' '.repeat(2 ** 20)}`),
} as const satisfies Record<string, FaultInjection>

/** The first `count` calls get what `how` does, later ones what they deserve. */
export function failFirstCalls(count: number, how: FaultInjection): FaultInjection {
  let left = count
  return (request, response, proceed) => {
    if (left-- > 0) how(request, response, proceed)
    else proceed()
  }
}

function raw(response: ServerResponse, text: string): void {
  response.socket?.end(text)
}
