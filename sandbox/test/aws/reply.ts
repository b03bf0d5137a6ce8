import t from 'tap'
import { encodeReply } from '../../src/aws/reply.js'

const identity = { action: 'GetCallerIdentity', result: { Arn: 'arn', UserId: 'AIDA', Account: '1' } }

t.test('a result in XML', async t => {
  t.same(encodeReply(identity, false, 'r-1'), {
    status: 200,
    type: 'text/xml',
    text: `<GetCallerIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
  <GetCallerIdentityResult>
    <Arn>arn</Arn>
    <UserId>AIDA</UserId>
    <Account>1</Account>
  </GetCallerIdentityResult>
  <ResponseMetadata>
    <RequestId>r-1</RequestId>
  </ResponseMetadata>
</GetCallerIdentityResponse>
`,
  })
})

t.test('the same tree in JSON', async t => {
  const { status, type, text } = encodeReply(identity, true, 'r-1')
  t.match({ status, type }, { status: 200, type: 'application/json' })
  t.same(JSON.parse(text), {
    GetCallerIdentityResponse: {
      GetCallerIdentityResult: identity.result,
      ResponseMetadata: { RequestId: 'r-1' },
    },
  })
})

t.test('a date is ISO 8601 in XML and seconds in JSON', async t => {
  const outcome = { action: 'A', result: { Expiration: new Date(1_700_000_000_000) } }
  t.match(encodeReply(outcome, false, 'r').text, '<Expiration>2023-11-14T22:13:20Z</Expiration>')
  t.match(JSON.parse(encodeReply(outcome, true, 'r').text), { AResponse: { AResult: { Expiration: 1_700_000_000 } } })
})

t.test('an error has a status and the responsible party', async t => {
  for (const [code, status] of [
    ['SignatureDoesNotMatch', 403],
    ['InvalidClientTokenId', 403],
    ['ExpiredToken', 403],
    ['AccessDenied', 403],
    ['MissingAuthenticationToken', 403],
    ['IncompleteSignature', 400],
    ['Throttling', 400],
    ['ValidationError', 400],
    ['UnknownOperationException', 404],
  ] as const) {
    t.equal(encodeReply({ code, message: 'm' }, false, 'r').status, status, code)
    t.same(JSON.parse(encodeReply({ code, message: 'm' }, true, 'r').text), {
      Error: { Type: 'Sender', Code: code, Message: 'm' },
      RequestId: 'r',
    })
  }
  t.match(encodeReply({ code: 'InternalFailure', message: 'm' }, false, 'r'), {
    status: 500,
    text: '<Type>Receiver</Type>',
  })
})

t.test('errors before the action is known have another namespace', async t => {
  const namespace = (code: 'InvalidAction' | 'ExpiredToken') =>
    /^<ErrorResponse xmlns="([^"]+)">/.exec(encodeReply({ code, message: 'm' }, false, 'r').text)?.[1]
  t.equal(namespace('ExpiredToken'), 'https://sts.amazonaws.com/doc/2011-06-15/')
  t.equal(namespace('InvalidAction'), 'http://webservices.amazon.com/AWSFault/2005-15-09')
})

t.test('input of the caller is escaped in XML', async t => {
  const { text } = encodeReply(
    { code: 'IncompleteSignature', message: '</Message><Code>"Throttling" & \'x\'' },
    false,
    'r',
  )
  t.match(text, '&lt;/Message&gt;&lt;Code&gt;&quot;Throttling&quot; &amp; &apos;x&apos;')
})
