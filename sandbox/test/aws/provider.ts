import { randomBytes } from 'node:crypto'
import t from 'tap'
import { createIam } from '../../src/aws/iam.js'
import { createProvider } from '../../src/aws/provider.js'
import { errorOf } from '../support/errors.js'

const account = '123456789012'
const naming = { account, issuer: 'https://oidc.example.com/id/1', audiences: ['sts.amazonaws.com'], keys: new Map() }

t.test('a provider is trusted by its own account only', async t => {
  const aws = createIam({ random: randomBytes, now: () => 0 })
  const provider = aws.createProvider(naming)
  t.equal(provider.arn, `arn:aws:iam::${account}:oidc-provider/oidc.example.com/id/1`)
  t.equal(aws.provider(account, naming.issuer), provider)
  t.equal(aws.provider('210987654321', naming.issuer), undefined)
  t.equal(aws.provider(account, naming.issuer, 'aws-cn'), undefined)
  t.equal(errorOf(() => aws.createProvider(naming))?.code, 'invalid', 'there is one')
})

t.test('an issuer must be an https URL', async t => {
  for (const issuer of ['http://oidc.example.com', 'oidc.example.com', 'https://', 'https://a b']) {
    t.equal(errorOf(() => createProvider({ ...naming, issuer }))?.code, 'invalid', issuer)
  }
})
