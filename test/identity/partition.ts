import t from 'tap'
import { findPartition } from '../../src/identity/partition.js'

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
