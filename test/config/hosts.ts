import t from 'tap'
import { isLoopback, isWildcard } from '../../src/config/hosts.js'
import { settings } from '../../src/config/settings.js'

t.test('loopback is localhost and every spelling of a loopback address', async t => {
  for (const host of ['localhost', '127.0.0.1', '127.9.9.9', '::1', '[::1]', '0:0:0:0:0:0:0:1', '::ffff:127.0.0.1']) {
    t.equal(isLoopback(host), true, host)
  }
  const others = ['10.0.0.1', '0.0.0.0', '::', '::2', '127.1', '127.0.0.1.example.com', '127.0.0.999', 'LOCALHOST', '']
  for (const host of others) t.equal(isLoopback(host), false, host)
})

t.test('a wildcard is every spelling of the unspecified address', async t => {
  for (const host of ['0.0.0.0', '::', '[::]', '::0', '0:0:0:0:0:0:0:0']) t.equal(isWildcard(host), true, host)
  for (const host of ['127.0.0.1', '0.0.0.1', '::1', '0', '*', 'localhost', '']) t.equal(isWildcard(host), false, host)
})

t.test('a name that is no STS host gets the host to write instead, of its own partition', async t => {
  const problemOf = (host: string) => settings.sts.hosts.schema.safeParse([host]).error?.issues[0]?.message ?? ''
  for (const [host, expected] of [
    ['eu-west-1', /this is a region and not a host: write sts\.eu-west-1\.amazonaws\.com$/],
    ['EU-WEST-1', /write sts\.eu-west-1\.amazonaws\.com$/],
    ['eu-west-1a', /write sts\.eu-west-1\.amazonaws\.com$/],
    ['sts.ap-southeast-2', /write sts\.ap-southeast-2\.amazonaws\.com$/],
    ['us-gov-west-1', /write sts\.us-gov-west-1\.amazonaws\.com$/],
    ['cn-north-1', /write sts\.cn-north-1\.amazonaws\.com\.cn$/],
    ['sts.cn-north-1.amazonaws.com.c', /use sts\.cn-north-1\.amazonaws\.com\.cn$/],
    ['sts.cn-north-1.amazonaws.com', /use sts\.cn-north-1\.amazonaws\.com\.cn$/],
    ['sts.amazonaws.com.cn', /use sts\.cn-north-1\.amazonaws\.com\.cn$/],
    ['sts.us-east-1.amazonaws.com.cn', /use sts\.us-east-1\.amazonaws\.com or sts\.cn-north-1\.amazonaws\.com\.cn$/],
    ['sts.c2s.ic.gov', /use sts\.us-iso-east-1\.c2s\.ic\.gov$/],
    ['sts.eusc-de-east-1.amazonaws.com', /use sts\.eusc-de-east-1\.amazonaws\.eu$/],
    ['sts.eu-west-1.amazonaw.com', /use sts\.eu-west-1\.amazonaws\.com$/],
    ['sts.amazonaws.com.', /expected a lower-case host name/],
    [
      'vpce-01.sts.cn-north-1.vpce.amazonaws.com.cn',
      /set host to the regional host, sts\.cn-north-1\.amazonaws\.com\.cn/,
    ],
  ] as const) {
    t.match(problemOf(host), expected, host)
  }
  for (const host of [
    'sts.amazonaws.com',
    'sts.eu-isoe-west-1.cloud.adc-e.uk',
    'sts',
    'localhost',
    'sts.example.com',
  ]) {
    t.equal(problemOf(host), '', host)
  }
})
