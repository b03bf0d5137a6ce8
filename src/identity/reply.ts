/**
 * What STS answers, read so strictly that nothing but its own documents is understood.
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
 * The parser alone forgives too much (two roots, comments inside of a value, trailing text), so markup that AWS never
 * writes is refused before it, and a schema that knows every element judges what it made.
 */
import { XMLParser, XMLValidator } from 'fast-xml-parser'
import { z } from 'zod'
import { Fault } from '../errors.js'
import { type Arn, canonicalizeArn, type PrincipalKind, parseArn } from './arn.js'
import { detach } from './detachedString.js'
import type { Partition } from './partition.js'

/**
 * Who signed. Everything comes from AWS; only `session` was chosen by whoever assumed the role, so it decides nothing.
 * `arn` is as STS said it, `canonical` the spelling that rules are matched with, `principalId` what AWS never gives
 * twice: AIDA… of a user, AROA… of a role (a federated user has ACCOUNT:NAME, root its account).
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

/** What an error document says. `message` is one line of printable ASCII, or undefined where it may echo the request. */
export type StsError = { code: string; message: string | undefined }

const STS = 'https://sts.amazonaws.com/doc/2011-06-15/'
/** Errors of the layer before STS itself. */
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
 * The identity in the body of a 200. `partition` is the one that the asked host serves.
 * Throws `sts/unavailable` for whatever is not STS's own document, and `identity/partition-mismatch`.
 */
export function parseIdentity(text: string, partition: Partition): Identity {
  const result = parseCommonForm(text) ?? parseAnyForm(text)
  if (!result) throw unusable('not a GetCallerIdentityResponse')
  const { Account: account } = result
  const [said, userId] = [detach(result.Arn), detach(result.UserId)]
  const arn = parseArn(said)
  if (!arn) throw unusable('its ARN is not that of a principal')
  if (arn.account !== account) throw unusable('its account is not that of its ARN')
  const { kind, name, session } = arn
  if (kind === 'role') throw unusable('a role itself signs nothing, its sessions do')
  const principalId = ids[kind](userId, arn)
  if (principalId === undefined) throw unusable(`its UserId is not that of a ${kind}`)
  if (arn.partition !== partition) {
    throw new Fault('identity/partition-mismatch', undefined, { arn: said, wanted: partition })
  }
  return { arn: said, canonical: canonicalizeArn(arn), kind, partition, account, name, userId, principalId, session }
}

type Result = { Arn: string; UserId: string; Account: string }

/** The three values of whatever is the document of STS. */
export function parseAnyForm(text: string): Result | undefined {
  const { data } = identityReply.safeParse(readXML(text))
  if (!data) return undefined
  const { Arn, UserId, Account } = data.GetCallerIdentityResponse.GetCallerIdentityResult
  return { Arn, UserId, Account }
}

/** Printable without markup, so that it means the same written and read. */
const VALUE = '([\\x20-\\x25\\x27-\\x3b\\x3d\\x3f-\\x7e]{1,2048})'
/** The document as STS writes it, to the letter; only the white space between elements may differ. */
const PLAIN = new RegExp(
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
 * What `readStrictly` gives, at a tenth of its cost, for the one form that STS uses; undefined for any other. It knows
 * nothing that the other does not: a test compares them.
 */
export function parseCommonForm(text: string): Result | undefined {
  const [, Arn, UserId, Account] = PLAIN.exec(text) ?? []
  return Arn !== undefined && UserId !== undefined && Account !== undefined ? { Arn, UserId, Account } : undefined
}

/** The error that a status of 4xx or 5xx carries; undefined where the body is not STS's own document. */
export function parseStsError(status: number, text: string): StsError | undefined {
  if (status < 400 || status > 599) return undefined
  const { data } = errorReply.safeParse(readXML(text))
  if (!data) return undefined
  const { Code: code, Message: message } = data.ErrorResponse.Error
  return { code, message: message === undefined ? undefined : shown(code, message) }
}

/** By kind, the part of a UserId that is never given twice; undefined where it is not the UserId of this ARN. */
const ids: Record<IdentityKind, (userId: string, arn: Arn) => string | undefined> = {
  user: userId => /^AIDA[A-Z0-9]{12,124}$/.exec(userId)?.[0],
  'assumed-role': (userId, { session }) => {
    const [, id, of] = /^(AROA[A-Z0-9]{12,124}):(.+)$/.exec(userId) ?? []
    return of !== undefined && of === session ? id : undefined
  },
  'federated-user': (userId, { account, name }) => (userId === `${account}:${name}` ? userId : undefined),
  root: (userId, { account }) => (userId === account ? userId : undefined),
}

/** In the message of this code, AWS repeats the Authorization header. */
const ECHO = 'IncompleteSignature'
/** A longer sentence is dropped rather than cut, since a cut echo could not be told any more. */
const SENTENCE = /^(?!.*(?:Signature|Credential)=)[\x20-\x7e]{1,300}$/

/** The first line: some services append the canonical request, with the token in it, after an empty one. */
function shown(code: string, message: string): string | undefined {
  if (code === ECHO) return undefined
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
/** Comments, CDATA, DOCTYPE and processing instructions, and characters that XML has not. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
const FOREIGN = /<[!?]|[\x00-\x08\x0b\x0c\x0e-\x1f]/

/** The tree of a well-formed document; undefined for anything else. */
function readXML(text: string): unknown {
  const document = text.replace(DECLARATION, '')
  if (FOREIGN.test(document)) return undefined
  try {
    return XMLValidator.validate(document) === true ? parser.parse(document) : undefined
  } catch {
    return undefined // names that the parser refuses, such as __proto__
  }
}

function unusable(why: string): Fault {
  return new Fault('sts/unavailable', undefined, { why })
}
