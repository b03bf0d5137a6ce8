import { randomBytes } from 'node:crypto'
import t from 'tap'
import { iam } from '../../../src/sandbox/aws/iam.js'
import { providerOf } from '../../../src/sandbox/aws/provider.js'
import { faultOf } from '../../support/faults.js'

const account = '123456789012'
const naming = { account, issuer: 'https://oidc.example.com/id/1', audiences: ['sts.amazonaws.com'], keys: new Map() }

t.test('an account believes an issuer, another account does not', async t => {
  const aws = iam({ random: randomBytes, now: () => 0 })
  const provider = aws.createProvider(naming)
  t.equal(provider.arn, `arn:aws:iam::${account}:oidc-provider/oidc.example.com/id/1`)
  t.equal(aws.provider(account, naming.issuer), provider)
  t.equal(aws.provider('210987654321', naming.issuer), undefined)
  t.equal(aws.provider(account, naming.issuer, 'aws-cn'), undefined)
  t.equal(faultOf(() => aws.createProvider(naming))?.kind, 'internal', 'there is one')
})

t.test('an issuer is an https URL', async t => {
  for (const issuer of ['http://oidc.example.com', 'oidc.example.com', 'https://', 'https://a b']) {
    t.equal(faultOf(() => providerOf({ ...naming, issuer }))?.kind, 'internal', issuer)
  }
})
