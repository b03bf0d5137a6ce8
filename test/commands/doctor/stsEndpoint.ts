import t from 'tap'
import { chooseStsEndpoint } from '../../../src/commands/doctor/stsEndpoint.js'

const OFFERED = 'sts.eu-west-1.amazonaws.com'

t.test('the STS host is the one that the proxy offers, as long as it belongs to AWS', async t => {
  t.same(chooseStsEndpoint(OFFERED, { AWS_REGION: 'us-west-2' }), { host: OFFERED })
  t.same(chooseStsEndpoint('sts.evil.test', { AWS_REGION: 'us-west-2' }), { host: 'sts.us-west-2.amazonaws.com' })
  t.same(chooseStsEndpoint(undefined, { AWS_DEFAULT_REGION: 'cn-north-1' }), {
    host: 'sts.cn-north-1.amazonaws.com.cn',
  })
  t.same(chooseStsEndpoint(undefined, {}), { host: 'sts.us-east-1.amazonaws.com' })
})

t.test('an endpoint of the environment is connected to instead', async t => {
  for (const [url, endpoint] of [
    ['http://127.0.0.1:4566', { host: OFFERED, connect: { host: '127.0.0.1', port: 4566 }, insecure: true }],
    ['http://[::1]', { host: OFFERED, connect: { host: '::1', port: 80 }, insecure: true }],
    ['https://vpce-1.sts.eu-west-1.vpce.amazonaws.com', { host: OFFERED }],
    ['https://sts.test:8443', { host: 'sts.test', connect: { host: 'sts.test', port: 8443 } }],
    ['ftp://x', { host: OFFERED }],
    ['nonsense', { host: OFFERED }],
  ] as const) {
    t.match(chooseStsEndpoint(OFFERED, { AWS_ENDPOINT_URL_STS: url }), endpoint, url)
  }
})
