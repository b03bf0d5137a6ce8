/** An STS that answers every call with the same identity. It checks no signature, to cost as little as possible. */
import { randomUUID } from 'node:crypto'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { encodeReply } from '../../sandbox/src/aws/reply.js'
import { answerCalls } from './answer.js'

const [arn = '', account = ''] = process.argv.slice(2)
const result = { Arn: arn, UserId: 'AIDAQUAAAABENCHMARKXX', Account: account }
const { status, type, text } = encodeReply({ action: 'GetCallerIdentity', result }, false, randomUUID())
const headers = { 'x-amzn-RequestId': randomUUID(), 'Content-Type': type, 'Content-Length': text.length }

const server = createServer({ keepAliveTimeout: 60_000 }, (request, response) => {
  request.resume()
  request.on('end', () => response.writeHead(status, headers).end(text))
})
server.listen(0, '127.0.0.1', () => answerCalls({ port: (server.address() as AddressInfo).port }))
