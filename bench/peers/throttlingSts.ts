/**
 * An STS with a quota per account and second, and a latency. It checks no signature. An access key that ends with D is
 * unknown to it, and the session token `expired` has expired.
 */
import { randomUUID } from 'node:crypto'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { encodeReply } from '../../sandbox/src/aws/reply.js'
import { decodeAccountId } from '../../src/budget/account.js'
import { answerCalls } from './answer.js'

const [quota = 600, latencyMS = 50] = process.argv.slice(2).map(Number)
const SECOND_MS = 1_000

/** The calls since the last report. `maxPerSecond`: the most calls of one account within one second. */
export type StsCalls = { calls: number; throttled: number; refused: number; maxPerSecond: number }

const noCalls = (): StsCalls => ({ calls: 0, throttled: 0, refused: 0, maxPerSecond: 0 })
let counts = noCalls()
/** The times of the calls in the last second, by account. */
const recentCalls = new Map<string, number[]>()

/** Counts a call. Returns the calls of the account in the last second. */
function countCall(account: string): number {
  const times = recentCalls.get(account) ?? []
  recentCalls.set(account, times)
  const now = performance.now()
  while (now - (times[0] ?? now) >= SECOND_MS) times.shift()
  times.push(now)
  counts.calls++
  counts.maxPerSecond = Math.max(counts.maxPerSecond, times.length)
  return times.length
}

const error = (code: 'Throttling' | 'InvalidClientTokenId' | 'ExpiredToken') =>
  encodeReply({ code, message: code }, false, randomUUID())
const refusals = {
  throttled: error('Throttling'),
  unknown: error('InvalidClientTokenId'),
  expired: error('ExpiredToken'),
}

function answer(accessKeyId: string, token: string | undefined) {
  const account = decodeAccountId(accessKeyId) ?? '000000000000'
  if (countCall(account) > quota) {
    counts.throttled++
    return refusals.throttled
  }
  if (accessKeyId.endsWith('D') || token === 'expired') {
    counts.refused++
    return token === 'expired' ? refusals.expired : refusals.unknown
  }
  const result = { Arn: `arn:aws:iam::${account}:user/bench`, UserId: 'AIDAQUAAAABENCHMARKXX', Account: account }
  return encodeReply({ action: 'GetCallerIdentity', result }, false, randomUUID())
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
  answerCalls(
    { port: (server.address() as AddressInfo).port },
    {
      calls: () => {
        const report = counts
        counts = noCalls()
        return report
      },
    },
  ),
)
