/** The documents of STS, as AWS writes them. */

const STS = 'https://sts.amazonaws.com/doc/2011-06-15/'
/** The request id of every reply. */
export const REQUEST_ID = '01234567-89ab-cdef-0123-456789abcdef'

export const ALICE = {
  Arn: 'arn:aws:iam::123456789012:user/alice',
  UserId: 'AIDACKCEVSQ6C2EXAMPLE',
  Account: '123456789012',
}
export const ORDERS = {
  Arn: 'arn:aws:sts::123456789012:assumed-role/orders-api/i-0abc',
  UserId: 'AROACKCEVSQ6C2EXAMPLE:i-0abc',
  Account: '123456789012',
}

export function identityXML({ Arn, UserId, Account } = ALICE, xmlns = STS): string {
  return `<GetCallerIdentityResponse xmlns="${xmlns}">
  <GetCallerIdentityResult>
    <Arn>${Arn}</Arn>
    <UserId>${UserId}</UserId>
    <Account>${Account}</Account>
  </GetCallerIdentityResult>
  <ResponseMetadata>
    <RequestId>${REQUEST_ID}</RequestId>
  </ResponseMetadata>
</GetCallerIdentityResponse>
`
}

export function errorXML(code: string, message = 'A sentence.', xmlns = STS): string {
  return `<ErrorResponse xmlns="${xmlns}">
  <Error>
    <Type>Sender</Type>
    <Code>${code}</Code>
    <Message>${message}</Message>
  </Error>
  <RequestId>${REQUEST_ID}</RequestId>
</ErrorResponse>
`
}
