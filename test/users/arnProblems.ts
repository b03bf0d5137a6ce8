import t from 'tap'
import { describeMalformedName } from '../../src/users/arnProblems.js'

const A = '123456789012'

t.test('a name that was meant as an ARN and is none has a problem', async t => {
  for (const [name, expected] of [
    [`arn:aws:iam::${A}:roles/x`, /says roles; write role\/NAME/],
    [`arn:aws:iam::${A}:users/x`, /says users; write user\/NAME/],
    [`arn:aws:sts::${A}:role/x`, /is a role of sts; write arn:PARTITION:iam/],
    [`arn:aws:iam::${A}:assumed-role/x`, /is an assumed role of iam/],
    ['arn:aws:iam::12345678901:role/x', /12 digits/],
    [`arn:aws:iam::${A}:role/x*`, /no patterns/],
    [`arn:aws:iam::*:role/x`, /no patterns/],
    [`arn:aws:sts::${A}:assumed-role/x/a*`, /no patterns/],
    [`ARN:AWS:IAM::${A}:ROLE/X`, /lower case/],
    [`arn:AWS:iam::${A}:role/x`, /partition/],
    [`arn:aws-moon:iam::${A}:role/x`, /partition that does not exist/],
    [`arn:aws:iam::${A}:role/x\n`, /line break/],
    [` arn:aws:iam::${A}:role/x`, /blank/],
    [`arn:aws:iam::${A}:role/x\u200b`, /invisible/],
    [`arn:aws:iam::${A}:user/x y`, /blank/],
    [`\u0430rn:aws:iam::${A}:role/x`, /outside ASCII/],
    [`arn\uff1aaws:iam::${A}:role/x`, /outside ASCII/],
    [`arn:aws:iam:${A}:role/x`, /two colons/],
    [`arn:aws:iam:eu-west-1:${A}:role/x`, /two colons/],
    [`aws:iam::${A}:role/x`, /must begin with arn:/],
    [`"arn:aws:iam::${A}:role/x"`, /must begin with arn:/],
    [`arn:aws:iam::${A}:group/g`, /is a group/],
    [`arn:aws:s3:::bucket`, /not of IAM or STS/],
    [`arn:aws:iam::${A}:role/`, /is not the ARN/],
    [`arn%3Aaws%3Aiam%3A%3A${A}%3Arole%2Fx`, /is percent-encoded/],
    [`ARN%3aAWS%3aIAM%3a%3a${A}%3aUSER%2fX`, /is percent-encoded/],
    ['arn:', /is not/],
    ['ARN:', /lower case/],
    [`arn:aws:iam::${A}:role/${'x'.repeat(5_000)}`, /is not the ARN/],
  ] as const) {
    t.match(describeMalformedName(name), expected, JSON.stringify(name.slice(0, 80)))
  }
})

t.test('an ARN, and the name of a user of another kind, has none', async t => {
  for (const name of [
    `arn:aws:iam::${A}:role/x`,
    `arn:aws:iam::${A}:user/a/b`,
    `arn:aws:sts::${A}:assumed-role/x/*`,
    `arn:aws:sts::${A}:assumed-role/x/session`,
    'CN=arne,OU=people,O=example',
    'app/host.example.com@REALM',
    'alice@example.com',
    'uid=alice,ou=roles,dc=example',
    'oidc/admins',
    'oidc%2Fadmins%3A50%25',
    '',
  ]) {
    t.equal(describeMalformedName(name), undefined, name)
  }
})
