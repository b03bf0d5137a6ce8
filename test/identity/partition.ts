import t from 'tap'
import { findPartition, isOptInRegion } from '../../src/identity/partition.js'

t.test('every public STS endpoint belongs to a partition', async t => {
  for (const [host, partition] of [
    ['sts.amazonaws.com', 'aws'],
    ['sts.eu-west-1.amazonaws.com', 'aws'],
    ['sts.ap-southeast-3.amazonaws.com', 'aws'],
    ['sts-fips.us-east-2.amazonaws.com', 'aws'],
    ['sts.us-east-1.api.aws', 'aws'],
    ['sts.us-gov-west-1.amazonaws.com', 'aws-us-gov'],
    ['sts.us-gov-east-1.api.aws', 'aws-us-gov'],
    ['sts.cn-north-1.amazonaws.com.cn', 'aws-cn'],
    ['sts.cn-northwest-1.api.amazonwebservices.com.cn', 'aws-cn'],
    ['sts.us-iso-east-1.c2s.ic.gov', 'aws-iso'],
    ['sts.us-isob-east-1.sc2s.sgov.gov', 'aws-iso-b'],
    ['sts.eu-isoe-west-1.cloud.adc-e.uk', 'aws-iso-e'],
    ['sts.us-isof-south-1.csp.hci.ic.gov', 'aws-iso-f'],
    ['sts.eusc-de-east-1.amazonaws.eu', 'aws-eusc'],
    ['sts.eusc-de-east-1.api.amazonwebservices.eu', 'aws-eusc'],
  ] as const) {
    t.equal(findPartition(host), partition, host)
  }
})

t.test('other hosts belong to no partition', async t => {
  for (const host of [
    '',
    'localhost',
    '127.0.0.1',
    'sts.amazonaws.com.cn',
    'sts.cn-north-1.amazonaws.com',
    'sts.eu-west-1.amazonaws.com.cn',
    'sts.eu-west-1.amazonaws.com.evil.example',
    'sts.eu-west-1.evilamazonaws.com',
    'STS.eu-west-1.amazonaws.com',
    's3.eu-west-1.amazonaws.com',
    'sts.eu-west-1.amazonaws.com:443',
    'vpce-xyz.sts.us-east-1.vpce.amazonaws.com',
  ]) {
    t.equal(findPartition(host), undefined, host)
  }
})

t.test('regions since 2019 are opt-in, and only in the partition aws', async t => {
  for (const [host, region, expected] of [
    ['sts.af-south-1.amazonaws.com', 'af-south-1', true],
    ['sts.mx-central-1.amazonaws.com', 'mx-central-1', true],
    ['sts.eu-central-2.api.aws', 'eu-central-2', true],
    ['sts.eu-central-1.amazonaws.com', 'eu-central-1', false],
    ['sts.amazonaws.com', 'us-east-1', false],
    ['sts.cn-north-1.amazonaws.com.cn', 'cn-north-1', false],
    ['sts.us-gov-west-1.amazonaws.com', 'us-gov-west-1', false],
    ['localhost', 'us-east-1', false],
  ] as const) {
    t.equal(isOptInRegion(host, region), expected, host)
  }
})
