/**
 * Parses the responses of STS, strictly: only the documents that STS writes are accepted.
 *
 *     <GetCallerIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
 *       <GetCallerIdentityResult> <Arn/> <UserId/> <Account/> </GetCallerIdentityResult>
 *       <ResponseMetadata> <RequestId/> </ResponseMetadata>
 *     </GetCallerIdentityResponse>
 *
 *     <ErrorResponse xmlns="…">
 *       <Error> <Type/> <Code/> <Message/> </Error>
 *       <RequestId/>
 *     </ErrorResponse>
 *
 * The XML parser alone is too lenient: it accepts two roots, comments inside a value, and trailing text. Markup that AWS
 * never writes is therefore rejected before parsing, and a schema that knows every element validates the result.
 */
import { XMLParser, XMLValidator } from 'fast-xml-parser'
import { z } from 'zod'
import { Fault } from '../errors.js'
import { type Arn, canonicalizeArn, type PrincipalKind, parseArn } from './arn.js'
import { detach } from './detachedString.js'
import type { Partition } from './partition.js'

/**
 * The principal that signed a request. All fields come from AWS. The caller of AssumeRole chose `session`, so it must not
 * decide anything. `arn` is the ARN that STS reported, `canonical` the one that rules are matched with. AWS never reuses a
 * `principalId`: it is AIDA… for a user and AROA… for a role (ACCOUNT:NAME for a federated user, the account for root).
 *
 * https://docs.aws.amazon.com/STS/latest/APIReference/API_GetCallerIdentity.html
 */
export type Identity = {
  arn: string
  canonical: string
  kind: IdentityKind
  partition: Partition
  account: string
  name: string
  userId: string
  principalId: string
  session: string | undefined
}
export type IdentityKind = Exclude<PrincipalKind, 'role'>

/** The content of an error document. `message` is one line of printable ASCII, or undefined if it may repeat the request. */
export type StsError = { code: string; message: string | undefined }

const STS = 'https://sts.amazonaws.com/doc/2011-06-15/'
/** The namespace of errors from the layer in front of STS. */
const DISPATCH = 'http://webservices.amazon.com/AWSFault/2005-15-09'

const blank = { '#text': z.string().regex(/^\s*$/).optional() }
const printable = z.string().regex(/^[\x20-\x7e]{1,2048}$/)

const identityReply = z.strictObject({
  GetCallerIdentityResponse: z.strictObject({
    ...blank,
    '@xmlns': z.literal(STS),
    GetCallerIdentityResult: z.strictObject({ ...blank, Arn: printable, UserId: printable, Account: printable }),
    ResponseMetadata: z.strictObject({ ...blank, RequestId: printable }).optional(),
  }),
})

const errorReply = z.strictObject({
  ErrorResponse: z.strictObject({
    ...blank,
    '@xmlns': z.enum([STS, DISPATCH]),
    Error: z.strictObject({
      ...blank,
      Type: z.string().optional(),
      Code: z.string().regex(/^[A-Za-z][A-Za-z0-9.]{0,63}$/),
      Message: z.string().optional(),
      Detail: z.unknown().optional(),
    }),
    RequestId: z.string().optional(),
    RequestID: z.string().optional(),
  }),
})

/**
 * The identity in the body of a 200 response. `partition`: the partition of the STS host.
 * Throws `sts/unavailable` for any document that STS does not write, and `identity/partition-mismatch`.
 */
export function parseIdentity(text: string, partition: Partition): Identity {
  const result = parseCommonForm(text) ?? parseAnyForm(text)
  if (!result) throw unusable('not a GetCallerIdentityResponse')
  const { Account: account } = result
  const [arnText, userId] = [detach(result.Arn), detach(result.UserId)]
  const arn = parseArn(arnText)
  if (!arn) throw unusable('its ARN is not the ARN of a principal')
  if (arn.account !== account) throw unusable('its account differs from the account of its ARN')
  const { kind, name, session } = arn
  if (kind === 'role') throw unusable('its ARN is the ARN of a role, and only sessions of a role sign requests')
  const principalId = PRINCIPAL_IDS[kind](userId, arn)
  if (principalId === undefined) throw unusable(`its UserId is not the id of this ${kind}`)
  if (arn.partition !== partition) {
    throw new Fault('identity/partition-mismatch', undefined, { arn: arnText, expected: partition })
  }
  return { arn: arnText, canonical: canonicalizeArn(arn), kind, partition, account, name, userId, principalId, session }
}

type Result = { Arn: string; UserId: string; Account: string }

/** Parses any well-formed GetCallerIdentityResponse. */
export function parseAnyForm(text: string): Result | undefined {
  const { data } = identityReply.safeParse(parseXML(text))
  if (!data) return undefined
  const { Arn, UserId, Account } = data.GetCallerIdentityResponse.GetCallerIdentityResult
  return { Arn, UserId, Account }
}

/** Printable text without markup, which has the same meaning before and after XML decoding. */
const VALUE = '([\\x20-\\x25\\x27-\\x3b\\x3d\\x3f-\\x7e]{1,2048})'
/** The document exactly as STS writes it; only the white space between elements may differ. */
const COMMON_FORM = new RegExp(
  [
    `^<GetCallerIdentityResponse xmlns="${STS.replaceAll('.', '\\.')}">`,
    '<GetCallerIdentityResult>',
    `<Arn>${VALUE}</Arn>`,
    `<UserId>${VALUE}</UserId>`,
    `<Account>${VALUE}</Account>`,
    '</GetCallerIdentityResult>',
    '<ResponseMetadata>',
    `<RequestId>${VALUE.replace('(', '(?:')}</RequestId>`,
    '</ResponseMetadata>',
    '</GetCallerIdentityResponse>',
    '$',
  ].join('[ \\n]*'),
)

/**
 * Parses the one form that STS writes, at a tenth of the cost of `parseAnyForm`; undefined for any other form. A test
 * checks that both give the same result.
 */
export function parseCommonForm(text: string): Result | undefined {
  const [, Arn, UserId, Account] = COMMON_FORM.exec(text) ?? []
  return Arn !== undefined && UserId !== undefined && Account !== undefined ? { Arn, UserId, Account } : undefined
}

/** The error in the body of a 4xx or 5xx response; undefined if STS does not write such a document. */
export function parseStsError(status: number, text: string): StsError | undefined {
  if (status < 400 || status > 599) return undefined
  const { data } = errorReply.safeParse(parseXML(text))
  if (!data) return undefined
  const { Code: code, Message: message } = data.ErrorResponse.Error
  return { code, message: message === undefined ? undefined : publicMessage(code, message) }
}

/** The part of a UserId that AWS never reuses, by kind; undefined if the UserId does not belong to the ARN. */
const PRINCIPAL_IDS: Record<IdentityKind, (userId: string, arn: Arn) => string | undefined> = {
  user: userId => /^AIDA[A-Z0-9]{12,124}$/.exec(userId)?.[0],
  'assumed-role': (userId, { session }) => {
    const [, id, of] = /^(AROA[A-Z0-9]{12,124}):(.+)$/.exec(userId) ?? []
    return of !== undefined && of === session ? id : undefined
  },
  'federated-user': (userId, { account, name }) => (userId === `${account}:${name}` ? userId : undefined),
  root: (userId, { account }) => (userId === account ? userId : undefined),
}

/** The message of this code repeats the Authorization header. */
const ECHOING_CODE = 'IncompleteSignature'
/** A longer message is dropped, not truncated: truncation could hide that it repeats the request. */
const SENTENCE = /^(?!.*(?:Signature|Credential)=)[\x20-\x7e]{1,300}$/

/** The first line of a message. Some services append the canonical request, which contains the token, after an empty line. */
function publicMessage(code: string, message: string): string | undefined {
  if (code === ECHOING_CODE) return undefined
  const [line = ''] = message.trim().split(/[\r\n]/, 1)
  return SENTENCE.test(line) ? line : undefined
}

const parser = new XMLParser({
  ignoreAttributes: false,
  attributeNamePrefix: '@',
  ignoreDeclaration: true,
  parseTagValue: false,
  parseAttributeValue: false,
  trimValues: false,
})
const DECLARATION = /^<\?xml version=["']1\.[01]["'][^<>]*\?>/
/** Comments, CDATA, DOCTYPE and processing instructions, and characters that XML does not allow. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: the expression looks for them
const FOREIGN = /<[!?]|[\x00-\x08\x0b\x0c\x0e-\x1f]/

/** Undefined if the text is not a well-formed document. */
function parseXML(text: string): unknown {
  const document = text.replace(DECLARATION, '')
  if (FOREIGN.test(document)) return undefined
  try {
    return XMLValidator.validate(document) === true ? parser.parse(document) : undefined
  } catch {
    return undefined // the parser throws for some names, such as __proto__
  }
}

function unusable(why: string): Fault {
  return new Fault('sts/unavailable', undefined, { why })
}

/** The request id in a document of STS, which must be valid. */
export function parseRequestId(text: string): { requestId?: string } {
  const [, requestId] = /<RequestId>([A-Za-z0-9-]{1,64})<\/RequestId>/.exec(text) ?? []
  return requestId === undefined ? {} : { requestId: detach(requestId) }
}
