import fc from 'fast-check'
import t from 'tap'
import { parseAnyForm, parseCommonForm, parseIdentity, parseStsError } from '../../src/identity/reply.js'
import { faultOf } from '../support/faults.js'
import { ALICE, errorXML, identityXML, ORDERS } from '../support/stsReplies.js'

const A = ALICE.Account
const valid = identityXML()
const kindOf = (text: string) => faultOf(() => parseIdentity(text, 'aws'))?.kind
/** The valid document with a part of it replaced. */
const edited = (find: string | RegExp, put: string) => {
  const text = valid.replace(find, put)
  if (text === valid) throw new Error(`nothing to replace: ${find}`)
  return text
}

t.test('the identities of a user, a role, a federated user and root are parsed', async t => {
  t.same(parseIdentity(valid, 'aws'), {
    arn: ALICE.Arn,
    canonical: ALICE.Arn,
    kind: 'user',
    partition: 'aws',
    account: A,
    name: 'alice',
    userId: ALICE.UserId,
    principalId: ALICE.UserId,
    session: undefined,
  })
  t.match(parseIdentity(identityXML(ORDERS), 'aws'), {
    arn: ORDERS.Arn,
    canonical: `arn:aws:iam::${A}:role/orders-api`,
    kind: 'assumed-role',
    name: 'orders-api',
    principalId: 'AROACKCEVSQ6C2EXAMPLE',
    session: 'i-0abc',
  })
  const federated = { Arn: `arn:aws:sts::${A}:federated-user/bob`, UserId: `${A}:bob`, Account: A }
  t.match(parseIdentity(identityXML(federated), 'aws'), {
    kind: 'federated-user',
    name: 'bob',
    principalId: `${A}:bob`,
  })
  const root = { Arn: `arn:aws:iam::${A}:root`, UserId: A, Account: A }
  t.match(parseIdentity(identityXML(root), 'aws'), { kind: 'root', principalId: A })
})

t.test('an XML declaration, a single line, and an account with leading zeros are accepted', async t => {
  for (const declaration of ['<?xml version="1.0"?>', '<?xml version="1.0" encoding="UTF-8"?>\n']) {
    t.equal(parseIdentity(declaration + valid, 'aws').arn, ALICE.Arn)
  }
  t.equal(parseIdentity(valid.replace(/\n\s*/g, ''), 'aws').arn, ALICE.Arn)
  const zeros = { ...ALICE, Arn: 'arn:aws:iam::000000000012:user/alice', Account: '000000000012' }
  t.equal(parseIdentity(identityXML(zeros), 'aws').account, '000000000012')
})

t.test('escaped characters are decoded', async t => {
  const escaped = { ...ALICE, Arn: `arn:aws:iam::${A}:user/r&amp;d/alice` }
  t.equal(parseIdentity(identityXML(escaped), 'aws').canonical, `arn:aws:iam::${A}:user/r&d/alice`)
})

t.test('any other document gives no identity', async t => {
  const result = /<GetCallerIdentityResult>.*<\/GetCallerIdentityResult>/s.exec(valid)?.[0] ?? ''
  const json = { GetCallerIdentityResponse: { GetCallerIdentityResult: ALICE } }
  for (const [name, text] of Object.entries({
    empty: '',
    html: '<!doctype html><html><body>Sign in</body></html>',
    json: JSON.stringify(json),
    'an error': errorXML('Throttling'),
    'another root': valid.replaceAll('GetCallerIdentityResponse', 'GetCallerIdentityReply'),
    wrapped: `<html>${valid}</html>`,
    'two roots': valid + valid,
    'trailing text': `${valid}x`,
    'leading text': `x${valid}`,
    'another namespace': identityXML(ALICE, 'https://sts.amazonaws.com/doc/2011-06-15'),
    'no namespace': edited(/ xmlns="[^"]+"/, ''),
    'a prefix': edited(/<Arn>(.+)<\/Arn>/, '<x:Arn>$1</x:Arn>'),
    'two results': edited(result, result + result),
    'no result': edited(result, ''),
    'two ARNs': edited('</Arn>', `</Arn><Arn>arn:aws:iam::${A}:user/bob</Arn>`),
    'two accounts': edited('</Account>', `</Account><Account>${A}</Account>`),
    'no UserId': edited(/<UserId>.+<\/UserId>/, ''),
    'an empty ARN': edited(ALICE.Arn, ''),
    'an unknown element': edited('</Account>', '</Account><Admin>true</Admin>'),
    'an attribute': edited('<Arn>', '<Arn type="x">'),
    'text between': edited('</Arn>', '</Arn>text'),
    'mismatched tags': edited('</Arn>', '</Arm>'),
    'a nested element': edited(ALICE.Arn, `<b>${ALICE.Arn}</b>`),
    'a comment': edited('user/alice', 'user/<!-- x -->alice'),
    'a comment outside': `<!-- x -->${valid}`,
    CDATA: edited(ALICE.Arn, `<![CDATA[${ALICE.Arn}]]>`),
    DOCTYPE: `<!DOCTYPE a [<!ENTITY x "alice">]>${edited('user/alice', 'user/&x;')}`,
    'an entity': edited('user/alice', 'user/&alice;'),
    'a processing instruction': edited('</Arn>', '</Arn><?x y?>'),
    'a late declaration': `${valid}<?xml version="1.0"?>`,
    'a second declaration': `<?xml version="1.0"?><?xml version="1.0"?>${valid}`,
    'a reserved name': edited('</Account>', '</Account><__proto__>x</__proto__>'),
    'spaces around the ARN': edited(ALICE.Arn, ` ${ALICE.Arn} `),
    'a line break after the ARN': edited(ALICE.Arn, `${ALICE.Arn}\n`),
    'a NUL': edited('user/alice', 'user/alice\0'),
    'letters beyond ASCII': edited('user/alice', 'user/àlice'),
    'a long ARN': edited('user/alice', `user/${'x/'.repeat(1100)}alice`),
  })) {
    t.equal(kindOf(text), 'sts/unavailable', name)
  }
})

t.test('a mutated document gives a user of the same account, or no identity', async t => {
  const mutated = fc
    .tuple(fc.nat(valid.length), fc.nat(3), fc.string({ unit: 'binary', maxLength: 4 }))
    .map(([at, cut, put]) => valid.slice(0, at) + put + valid.slice(at + cut))
  const named = /^arn:aws:iam::123456789012:user\/[!-~]+$/
  const property = fc.property(mutated, text => {
    const thrown = faultOf(() => parseIdentity(text, 'aws'))
    return thrown
      ? ['sts/unavailable', 'identity/partition-mismatch'].includes(thrown.kind)
      : named.test(parseIdentity(text, 'aws').arn)
  })
  t.doesNotThrow(() => fc.assert(property, { numRuns: 500 }))
})

t.test('the common form is parsed as the general parser would parse it', async t => {
  for (const text of [valid, identityXML(ORDERS), valid.replace(/\n\s*/g, ''), valid.trimEnd()]) {
    t.ok(parseCommonForm(text))
    t.same(parseCommonForm(text), parseAnyForm(text))
  }
  const letters = fc.constantFrom(
    ...'<>&"\'/ \n\t\r\0ax0\xa0\ufeff',
    '&amp;',
    '<Arn>',
    '</Arn>',
    '<!--',
    ']]>',
    '<?x?>',
  )
  const mutated = fc
    .tuple(fc.nat(valid.length), fc.nat(12), fc.array(letters, { maxLength: 3 }))
    .map(([at, cut, put]) => valid.slice(0, at) + put.join('') + valid.slice(at + cut))
  let common = 0
  const property = fc.property(mutated, text => {
    const result = parseCommonForm(text)
    if (!result) return
    common++
    if (JSON.stringify(result) !== JSON.stringify(parseAnyForm(text))) throw new Error(text)
  })
  t.doesNotThrow(() => fc.assert(property, { numRuns: 3000 }))
  t.ok(common > 100, `${common} documents had the common form`)
})

t.test('ARN, UserId and Account must be consistent', async t => {
  const role = `arn:aws:sts::${A}:assumed-role/R/some`
  for (const [name, values] of Object.entries({
    'another account': { ...ALICE, Account: '210987654321' },
    'an account as a number': { ...ALICE, Account: '123456789012.0' },
    'a user with the id of a role': { ...ALICE, UserId: 'AROACKCEVSQ6C2EXAMPLE' },
    'a user with a session': { ...ALICE, UserId: 'AIDACKCEVSQ6C2EXAMPLE:alice' },
    'a role with the id of a user': { Arn: role, UserId: 'AIDACKCEVSQ6C2EXAMPLE:some', Account: A },
    'a role without a session': { Arn: role, UserId: 'AROACKCEVSQ6C2EXAMPLE', Account: A },
    'a role with another session': { Arn: role, UserId: 'AROACKCEVSQ6C2EXAMPLE:other', Account: A },
    'a role of every session': {
      Arn: `arn:aws:sts::${A}:assumed-role/R/*`,
      UserId: 'AROACKCEVSQ6C2EXAMPLE:*',
      Account: A,
    },
    'a role itself': { Arn: `arn:aws:iam::${A}:role/R`, UserId: 'AROACKCEVSQ6C2EXAMPLE', Account: A },
    'root with the id of a user': { ...ALICE, Arn: `arn:aws:iam::${A}:root` },
    'a federated user of another name': { Arn: `arn:aws:sts::${A}:federated-user/bob`, UserId: `${A}:eve`, Account: A },
    'not a principal': { ...ALICE, Arn: `arn:aws:iam::${A}:group/alice` },
  })) {
    t.equal(kindOf(identityXML(values)), 'sts/unavailable', name)
  }
})

t.test('an ARN of another partition than that of the host is refused', async t => {
  const china = identityXML({ ...ALICE, Arn: `arn:aws-cn:iam::${A}:user/alice` })
  t.match(
    faultOf(() => parseIdentity(china, 'aws')),
    { kind: 'identity/partition-mismatch', facts: { expected: 'aws' } },
  )
  t.equal(parseIdentity(china, 'aws-cn').partition, 'aws-cn')
})

t.test('an error document gives a code and a message', async t => {
  t.same(parseStsError(403, errorXML('ExpiredToken', 'The security token included in the request is expired')), {
    code: 'ExpiredToken',
    message: 'The security token included in the request is expired',
  })
  const dispatch = errorXML(
    'InvalidAction',
    'Could not find operation',
    'http://webservices.amazon.com/AWSFault/2005-15-09',
  )
  t.equal(parseStsError(400, dispatch)?.code, 'InvalidAction')
})

t.test('text that AWS repeats from the request is never parsed as a code', async t => {
  const echo = errorXML(
    'IncompleteSignature',
    "'&lt;Code&gt;Throttling&lt;/Code&gt; Rate exceeded' not a valid key=value pair",
  )
  t.same(parseStsError(400, echo), { code: 'IncompleteSignature', message: undefined })
  for (const text of [
    'Throttling',
    '<html>Throttling</html>',
    '<Code>Throttling</Code>',
    `<html>${errorXML('Throttling')}</html>`,
    errorXML('ExpiredToken</Code><Code>Throttling'),
    errorXML('ExpiredToken', '</Message></Error><Error><Code>Throttling</Code><Message>'),
    errorXML(' Throttling'),
    errorXML('x'.repeat(65)),
    errorXML(''),
    errorXML('Throttling', 'x', 'https://example.com/'),
    '',
  ]) {
    t.equal(parseStsError(400, text), undefined, text.slice(0, 60))
  }
})

t.test('other statuses than 4xx and 5xx give no error', async t => {
  for (const status of [100, 200, 204, 301, 302, 600]) {
    t.equal(parseStsError(status, errorXML('ExpiredToken')), undefined, `${status}`)
  }
})

t.test('the message is one short printable line without parts of the request', async t => {
  const message = (text: string) => parseStsError(403, errorXML('SignatureDoesNotMatch', text))?.message
  t.equal(message('does not match.\n\nThe Canonical String should have been &apos;POST'), 'does not match.')
  t.equal(message('x'.repeat(300))?.length, 300)
  t.equal(message('x'.repeat(301)), undefined)
  t.equal(message('got Credential=AKIA/x, Signature=00'), undefined)
  for (const text of ['', ' ', 'caf\u00e9', 'x\u2028y', '\u001b[31m']) t.equal(message(text), undefined)
})
