/** Faults of STS, for `injectFault` of the sandbox: what it answers, if it answers. */
import type { ServerResponse } from 'node:http'
import type { FaultInjection } from '../../sandbox/src/aws/sts.js'

const answering =
  (status: number, type: string, text: string): FaultInjection =>
  (_request, response) => {
    response.writeHead(status, { 'Content-Type': type, 'Content-Length': Buffer.byteLength(text) }).end(text)
  }

const failure = '<ErrorResponse><Error><Type>Receiver</Type><Code>InternalFailure</Code></Error></ErrorResponse>'

export const stsFailures = {
  /** The page of a firewall on the way. */
  forbiddenPage: answering(403, 'text/html', '<html><body><h1>403 Forbidden</h1></body></html>'),
  internalFailure: answering(500, 'text/xml', failure),
  unavailable: answering(503, 'text/xml', failure),
  /** A reply with status 200 whose XML is cut off. */
  garbage: answering(200, 'text/xml', '<GetCallerIdentityResponse><GetCallerIdentityResult><Arn>arn:aws:'),
  redirect: (_request, response) => {
    response.writeHead(302, { Location: 'http://127.0.0.1:1/', 'Content-Length': 0 }).end()
  },
  /** The reply of AWS to a request that is too large: no body and no headers. */
  tooLarge: (_request, response) => raw(response, 'HTTP/1.1 413 Request Entity Too Large\r\n\r\n'),
  hang: () => {},
  /** The connection ends in the middle of the answer. */
  breakOff: (_request, response) => raw(response, 'HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n<GetCaller'),
  reset: request => request.socket.destroy(),
  /** Longer than any answer of STS. */
  endless: answering(200, 'text/xml', `<GetCallerIdentityResponse>${' '.repeat(2 ** 20)}`),
} as const satisfies Record<string, FaultInjection>

/** Applies a fault to the first `count` calls only. */
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
