/** A denied access key must get what an inactive key gets, whatever state STS is in. */
import { randomBytes } from 'node:crypto'
import t, { type Test } from 'tap'
import { createIam } from '../../sandbox/src/aws/iam.js'
import { startSts } from '../../sandbox/src/aws/sts.js'
import { createMetricsRecorder } from '../../src/admin/metrics.js'
import { StsGateway } from '../../src/app/stsGateway.js'
import { loadConfig } from '../../src/config/load.js'
import { validateProof } from '../../src/identity/proof.js'
import { silentLog } from '../../src/log.js'
import { challenge, signAsDriver } from '../support/proofs.js'
import { stsFailures } from '../support/stsFailures.js'

t.jobs = 3 // retries take their time
const { host } = challenge
const INACTIVE = { accessKeyId: 'AKIASP2TPHJSQH3FJXYZ', secretAccessKey: 'any' }
const acquire = async () => () => {}

async function startGateway(t: Test) {
  const sts = await startSts({ iam: createIam({ random: randomBytes, now: Date.now }) })
  t.teardown(() => sts.close())
  const readFile = () => ({ bytes: Buffer.alloc(0), mode: 0 })
  const { sts: settings, login } = loadConfig({ args: { 'upstream.uri': 'mongodb://a' }, env: {}, readFile })
  const hosts = [{ host, connect: { host: '127.0.0.1', port: sts.port } }]
  const config = { sts: { ...settings, insecure: true, hosts }, login }
  const gateway = new StsGateway(config, 10, createMetricsRecorder({}), silentLog)
  t.teardown(() => gateway.close())
  const signedAt = new Date(Math.floor(Date.now() / 1000) * 1000)
  const proof = validateProof(await signAsDriver(INACTIVE, challenge, signedAt), challenge, signedAt)
  const { signal } = new AbortController()
  return {
    sts,
    askGenuine: () => gateway.getCallerIdentity(proof, acquire, signal),
    imitate: () => gateway.imitateInactiveKey(proof, '10.0.0.1', acquire, signal),
  }
}

t.test(
  'the outcome is that of an inactive key, and costs one call without credentials',
  { buffered: true },
  async t => {
    const { sts, askGenuine, imitate } = await startGateway(t)
    const genuine = await askGenuine()
    t.match(genuine, { is: 'refused', code: 'InvalidClientTokenId' })
    const { requestId: _, ...expected } = genuine as typeof genuine & { requestId?: string } // the client does not see it
    const before = sts.calls()
    t.same(await Promise.all([imitate(), imitate(), imitate()]), [expected, expected, expected])
    t.equal(sts.calls().GetCallerIdentity, before.GetCallerIdentity)
    t.equal(sts.calls().unsigned, before.unsigned + 1)
  },
)

t.test('while STS fails, the outcome is the same failure', { buffered: true }, async t => {
  for (const name of ['unavailable', 'forbiddenPage'] as const) {
    const { sts, askGenuine, imitate } = await startGateway(t)
    sts.injectFault(stsFailures[name])
    const genuine = await askGenuine()
    t.match(genuine, { is: 'unavailable' })
    t.same(await imitate(), genuine, name)
  }
})

t.test(
  'while STS throttles the account, the outcome is a throttle, until a call is answered',
  { buffered: true },
  async t => {
    const { sts, askGenuine, imitate } = await startGateway(t)
    const error = '<Error><Type>Sender</Type><Code>Throttling</Code><Message>Rate exceeded</Message></Error>'
    const namespace = 'https://sts.amazonaws.com/doc/2011-06-15/'
    sts.injectFault((request, response, proceed) => {
      if (request.headers.authorization === undefined) return proceed()
      response.writeHead(400, { 'Content-Type': 'text/xml' })
      response.end(`<ErrorResponse xmlns="${namespace}">${error}<RequestId>1</RequestId></ErrorResponse>`)
    })
    const genuine = await askGenuine()
    t.match(genuine, { is: 'throttled' })
    t.same(await imitate(), genuine)
    sts.injectFault(undefined)
    t.match(await askGenuine(), { is: 'refused' })
    t.match(await imitate(), { is: 'refused' })
  },
)
