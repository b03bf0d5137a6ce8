/**
 * An STS that throttles: so many calls of one account in any second, each answered after a while. It believes every
 * signature; a key that ends with D is forged, one unknown to it, and a token that says so has expired.
 */
import { randomUUID } from 'node:crypto'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { reply } from '../../sandbox/src/aws/reply.js'
import { decodeAccountId } from '../../src/budget/account.js'
import { answers } from './answer.js'

const [quota = 600, latencyMS = 50] = process.argv.slice(2).map(Number)
const SECOND_MS = 1_000

/** What it was asked since it was last told. `most`: calls of one account in any one second. */
export type Calls = { calls: number; throttled: number; refused: number; most: number }

const nobody = (): Calls => ({ calls: 0, throttled: 0, refused: 0, most: 0 })
let seen = nobody()
/** Of each account, when the calls of the last second came. */
const recent = new Map<string, number[]>()

function countedIn(account: string): number {
  const times = recent.get(account) ?? []
  recent.set(account, times)
  const now = performance.now()
  while (now - (times[0] ?? now) >= SECOND_MS) times.shift()
  times.push(now)
  seen.calls++
  seen.most = Math.max(seen.most, times.length)
  return times.length
}

const error = (code: 'Throttling' | 'InvalidClientTokenId' | 'ExpiredToken') =>
  reply({ code, message: code }, false, randomUUID())
const refusals = {
  throttled: error('Throttling'),
  unknown: error('InvalidClientTokenId'),
  expired: error('ExpiredToken'),
}

function answer(accessKeyId: string, token: string | undefined) {
  const account = decodeAccountId(accessKeyId) ?? '000000000000'
  if (countedIn(account) > quota) {
    seen.throttled++
    return refusals.throttled
  }
  if (accessKeyId.endsWith('D') || token === 'expired') {
    seen.refused++
    return token === 'expired' ? refusals.expired : refusals.unknown
  }
  const result = { Arn: `arn:aws:iam::${account}:user/bench`, UserId: 'AIDAQUAAAABENCHMARKXX', Account: account }
  return reply({ action: 'GetCallerIdentity', result }, false, randomUUID())
}

const server = createServer({ keepAliveTimeout: 60_000 }, (request, response) => {
  const [, key = ''] = /Credential=([A-Z0-9]+)/.exec(request.headers.authorization ?? '') ?? []
  const { status, type, text } = answer(key, request.headers['x-amz-security-token'] as string | undefined)
  request.resume()
  request.on('end', () =>
    setTimeout(() => {
      response.writeHead(status, { 'x-amzn-RequestId': randomUUID(), 'Content-Type': type })
      response.end(text)
    }, latencyMS),
  )
})
server.listen(0, '127.0.0.1', () =>
  answers(
    { port: (server.address() as AddressInfo).port },
    {
      calls: () => {
        const told = seen
        seen = nobody()
        return told
      },
    },
  ),
)
