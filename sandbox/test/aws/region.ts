import t from 'tap'
import { findEndpointRegion, findPartition } from '../../src/aws/region.js'

const at = (host: string, region: string) => findEndpointRegion(host, region, new Map([['my-sts', 'eu-west-1']]))

t.test('a region belongs to one partition', async t => {
  for (const [region, partition] of [
    ['us-east-1', 'aws'],
    ['ap-southeast-4', 'aws'],
    ['us-gov-west-1', 'aws-us-gov'],
    ['cn-north-1', 'aws-cn'],
    ['us-iso-east-1', 'aws-iso'],
    ['us-isob-east-1', 'aws-iso-b'],
    ['eu-isoe-west-1', 'aws-iso-e'],
    ['us-isof-south-1', 'aws-iso-f'],
    ['eusc-de-east-1', 'aws-eusc'],
    ['amazonaws', undefined],
    ['0', undefined],
    ['', undefined],
  ] as const) {
    t.equal(findPartition(region), partition, region)
  }
})

t.test('a regional host accepts its own region only', async t => {
  for (const [host, region] of [
    ['sts.eu-west-1.amazonaws.com', 'eu-west-1'],
    ['STS.eu-west-1.amazonaws.com:443', 'eu-west-1'],
    ['sts-fips.us-east-1.amazonaws.com', 'us-east-1'],
    ['sts.us-east-1.api.aws', 'us-east-1'],
    ['sts.us-gov-west-1.amazonaws.com', 'us-gov-west-1'],
    ['sts.cn-north-1.amazonaws.com.cn', 'cn-north-1'],
    ['my-sts', 'eu-west-1'],
  ] as const) {
    t.equal(at(host, region), region, host)
    t.equal(at(host, 'us-east-2'), undefined, host)
  }
})

t.test('the global host accepts us-east-1 and is a separate endpoint', async t => {
  t.equal(at('sts.amazonaws.com', 'us-east-1'), 'global')
  t.equal(at('sts.amazonaws.com', 'eu-west-1'), undefined)
})

t.test('loopback stands for any existing region', async t => {
  for (const host of ['localhost', '127.0.0.1:8080']) {
    t.equal(at(host, 'eu-west-1'), 'eu-west-1')
    t.equal(at(host, '0'), undefined)
  }
})

t.test('other hosts accept no region', async t => {
  for (const host of [
    '',
    'example.com',
    's3.us-east-1.amazonaws.com',
    'sts.us-east-1.amazonaws.com.example.com',
    'sts.cn-north-1.amazonaws.com',
    'vpce-1.sts.us-east-1.vpce.amazonaws.com',
  ]) {
    for (const region of ['us-east-1', 'cn-north-1', 'sts']) t.equal(at(host, region), undefined, host)
  }
})
