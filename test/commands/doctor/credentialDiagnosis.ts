import t from 'tap'
import {
  type AwsKeys,
  diagnoseCaller,
  diagnoseClock,
  diagnoseCredentials,
  diagnoseRegion,
  findKeyProblem,
} from '../../../src/commands/doctor/credentialDiagnosis.js'
import { Secret } from '../../../src/log.js'

const NOW = Date.parse('2026-11-30T12:00:00Z')
const SECRET = 'wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY'
const TOKEN = `IQoJb3JpZ2luX2Vj${'Abc+'.repeat(40)}`
const keys = (accessKeyId = 'AKIASP2TPHJSQH3FJXYZ', secret = SECRET, token?: string): AwsKeys => ({
  accessKeyId,
  secretAccessKey: new Secret(secret),
  sessionToken: token === undefined ? undefined : new Secret(token),
})
const session = keys('ASIASP2TPHJSQH3FJXYZ', SECRET, TOKEN)
const found = (one: AwsKeys, sources: string[] = ['CREDENTIALS_ENV_VARS'], expiration?: number) =>
  ({ is: 'found', keys: one, sources, expiration }) as const

t.test('usable credentials are shown with their source and how long they are valid', async t => {
  for (const [sources, text] of [
    [['CREDENTIALS_ENV_VARS'], /AWS_ACCESS_KEY_ID/],
    [['CREDENTIALS_PROFILE', 'CREDENTIALS_PROFILE_SSO', 'CREDENTIALS_SSO'], /IAM Identity Center \(the profile dev\)/],
    [['CREDENTIALS_ENV_VARS_STS_WEB_ID_TOKEN', 'CREDENTIALS_STS_ASSUME_ROLE_WEB_ID'], /web identity token/],
    [['CREDENTIALS_PROFILE_SOURCE_PROFILE', 'CREDENTIALS_STS_ASSUME_ROLE'], /a role that the profile dev assumes/],
    [['CREDENTIALS_HTTP'], /ECS or EKS/],
    [['CREDENTIALS_IMDS'], /EC2/],
    [['CREDENTIALS_PROFILE'], /from the profile dev/],
    [[], /EC2/],
    [['CREDENTIALS_OF_LATER_RELEASES'], /chain of the AWS SDK/],
  ] as const) {
    const evidence = found(session, [...sources], NOW + 3 * 3600_000)
    t.match(diagnoseCredentials(evidence, { AWS_PROFILE: 'dev' }, NOW), { level: 'ok', text })
  }
  t.match(diagnoseCredentials(found(session, [], NOW + 3 * 3600_000), {}, NOW), { text: /valid for 3 hours/ })
  t.match(diagnoseCredentials(found(session, ['CREDENTIALS_PROFILE']), { AWS_PROFILE: 'hunter2 !' }, NOW), {
    text: /the profile in AWS_PROFILE/,
  })
})

t.test('damaged credentials are a failure that shows none of their text', async t => {
  for (const [damaged, text] of [
    [keys('ASIASP2TPHJSQH3FJXYZ', SECRET, TOKEN.replace('+', ' ')), /blank, which was probably a \+/],
    [keys('ASIASP2TPHJSQH3FJXYZ', SECRET, `${TOKEN}\n`), /line break/],
    [keys('ASIASP2TPHJSQH3FJXYZ'), /set AWS_SESSION_TOKEN/],
    [keys('AKIASP2TPHJSQH3FJXYZ', SECRET, TOKEN), /unset AWS_SESSION_TOKEN/],
    [keys('"AKIASP2TPHJSQH3FJXYZ"'), /quotation mark/],
    [keys(''), /access key id is empty/],
    [keys(undefined, `${SECRET} `), /secret access key contains a blank/],
    [keys(undefined, `'${SECRET}'`), /quotation mark/],
    [keys(undefined, ''), /secret access key is empty/],
  ] as const) {
    const diagnosis = diagnoseCredentials(found(damaged), {}, NOW)
    t.match(diagnosis, { level: 'failure', text })
    t.notMatch(diagnosis.text, 'wJalr')
    t.notMatch(diagnosis.text, 'IQoJ')
    t.ok(findKeyProblem(damaged))
  }
})

t.test('credentials that only look wrong are a warning, since AWS decides', async t => {
  const short = keys('ASIASP2TPHJSQH3FJXYZ', SECRET, TOKEN.slice(0, -1))
  t.match(diagnoseCredentials(found(short), {}, NOW), { level: 'warning', text: /its end is probably missing/ })
  t.match(diagnoseCredentials(found(keys(undefined, SECRET.slice(1))), {}, NOW), {
    level: 'warning',
    text: /39 characters/,
  })
  const both = { AWS_PROFILE: 'dev', AWS_ACCESS_KEY_ID: 'AKIASP2TPHJSQH3FJXYZ' }
  t.match(diagnoseCredentials(found(keys()), both, NOW), { level: 'warning', text: /unset one/ })
  t.equal(findKeyProblem(short), undefined)
})

t.test('expired and missing credentials are a failure', async t => {
  t.match(diagnoseCredentials(found(session, [], NOW - 600_000), {}, NOW), {
    level: 'failure',
    text: /expired 10 minutes ago/,
  })
  t.match(diagnoseCredentials({ is: 'timeout', ms: 15_000 }, {}, NOW), { level: 'failure', text: /within 15 s/ })
  t.match(diagnoseCredentials({ is: 'missing', install: 'npm install x' }, {}, NOW), {
    level: 'failure',
    text: /npm install x/,
  })
  const failed = (message: string, env = {}, name = 'CredentialsProviderError') =>
    diagnoseCredentials({ is: 'failed', name, message }, env, NOW)
  t.match(failed('Could not load credentials from any providers'), { text: /none found: no variables, no profile/ })
  t.match(failed('any', { AWS_ACCESS_KEY_ID: 'x' }), { text: /AWS_SECRET_ACCESS_KEY is not; set both/ })
  t.match(
    failed('The SSO session associated with this profile has expired. To refresh this SSO session run aws sso login'),
    {
      text: /run aws sso login \(the profile default\)/,
    },
  )
  t.match(failed('Could not resolve credentials using profile: [dev] in configuration/credentials file(s).'), {
    text: /has no credentials; correct AWS_PROFILE/,
  })
  t.match(failed('Profile dev requires multi-factor authentication'), { text: /MFA/ })
  t.match(failed('is not authorized to perform: sts:AssumeRole', {}, 'AccessDenied'), { text: /trust policy/ })
  t.match(failed('ENOENT: no such file'), { text: /AWS_WEB_IDENTITY_TOKEN_FILE/ })
  t.match(failed('Token expired', {}, 'ExpiredTokenException'), { text: /renew it/ })
})

t.test('no message of the AWS SDK is repeated, since it may contain a command line', async t => {
  const message = 'Command failed: vault-helper --password hunter2'
  const { text } = diagnoseCredentials({ is: 'failed', name: 'CredentialsProviderError', message }, {}, NOW)
  t.match(text, /run it by hand/)
  t.notMatch(text, 'hunter2')
  t.notMatch(diagnoseCredentials({ is: 'failed', name: 'a b', message: 'odd hunter2' }, {}, NOW).text, 'hunter2')
})

t.test('the region is that of the host that the proxy offers', async t => {
  const host = 'sts.eu-west-1.amazonaws.com'
  t.match(diagnoseRegion(host, { AWS_REGION: 'us-east-1' }), { level: 'ok', text: /^eu-west-1: / })
  t.match(diagnoseRegion(host, { AWS_REGION: 'cn-north-1' }), {
    level: 'warning',
    text: /accounts of aws only.*aws-cn/,
  })
  t.match(diagnoseRegion('sts.af-south-1.amazonaws.com', {}), { level: 'note', text: /enabled this region/ })
})

t.test('AWS judges the clock, the proxy only if AWS does not answer', async t => {
  const minutes = (count: number) => count * 60_000
  t.match(diagnoseClock({ awsMS: 400, proxyMS: 0 }), { level: 'ok' })
  t.match(diagnoseClock({ awsMS: minutes(16), proxyMS: 0 }), {
    level: 'failure',
    text: /of this machine is 16 minutes behind that of AWS, and AWS permits 15 minutes; synchronize/,
  })
  t.match(diagnoseClock({ awsMS: undefined, proxyMS: minutes(-20) }), {
    level: 'failure',
    text: /ahead of that of the proxy/,
  })
  t.match(diagnoseClock({ awsMS: minutes(3), proxyMS: 0 }), { level: 'warning' })
  t.match(diagnoseClock({ awsMS: 0, proxyMS: minutes(20) }), {
    level: 'note',
    text: /that of the proxy is 20 minutes off/,
  })
  t.match(diagnoseClock({ awsMS: undefined, proxyMS: undefined }), { level: 'note' })
})

t.test('a refusal of AWS has its remedy; an STS that cannot be reached from here is no failure', async t => {
  const refused = (code: string, one = session) =>
    diagnoseCaller({ is: 'refused', code }, one, 'sts.eu-west-1.amazonaws.com')
  t.match(refused('ExpiredToken'), { level: 'failure', text: /has expired; renew/ })
  t.match(refused('SignatureDoesNotMatch'), { level: 'failure', text: /correct the secret access key/ })
  t.match(refused('InvalidClientTokenId'), { level: 'failure', text: /get new credentials/ })
  t.match(refused('InvalidClientTokenId', keys('ASIASP2TPHJSQH3FJXYZ', SECRET, 'short')), {
    text: /end is probably missing/,
  })
  t.match(refused('AccessDenied'), { level: 'failure', text: /AccessDenied/ })
  t.match(diagnoseCaller({ is: 'throttled', code: 'Throttling' }, session, 'x'), { level: 'warning' })
  t.match(diagnoseCaller({ is: 'failed', why: 'ENOTFOUND' }, session, 'x'), {
    level: 'warning',
    text: /the proxy calls STS/,
  })
})
