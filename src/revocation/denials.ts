/** The deny list: principals whose logins are refused and whose live connections close, whatever the rules say. */
import { z } from 'zod'
import { findMissingBlank, findMissingBlankOfEntry, MISSING_BLANK } from '../config/missingBlank.js'
import { didYouMean } from '../config/nearest.js'
import { type Arn, canonicalizeArn, parseArn } from '../identity/arn.js'
import type { Identity } from '../identity/reply.js'
import { describeText } from '../redaction.js'

export type DenialKind = 'arn' | 'principalId' | 'accessKey' | 'account' | 'session'

/** `value` has the spelling of identities: an ARN is canonical, a session keeps its name. */
export type Denial = { kind: DenialKind; value: string; why?: string; until?: Date }

/** The parts of an identity that denials match. */
export type DenialSubject = Pick<
  Identity,
  'canonical' | 'kind' | 'partition' | 'account' | 'name' | 'principalId' | 'session'
>

/** `now`: milliseconds since 1970. */
export type DenyList = {
  all: readonly Denial[]
  /**
   * Finds a denial of the access key, before STS has confirmed the identity. Other properties of a key, such as the
   * account that it encodes, can be forged, so they do not count here.
   */
  findByAccessKey(accessKeyId: string, now: number): Denial | undefined
  find(subject: DenialSubject, accessKeyId: string, now: number): Denial | undefined
}

const MAX_WHY_LENGTH = 500
const MAX_VALUE_LENGTH = 2_048
const UNQUOTED_NUMBER = 'YAML reads this as a number and drops leading zeros; put it in quotes'

const valueSchema = z
  .string({ error: issue => (typeof issue.input === 'number' ? UNQUOTED_NUMBER : 'must be text') })
  .max(MAX_VALUE_LENGTH)
const untilSchema = z.iso
  .datetime({ offset: true, error: 'must be a time like 2026-12-24T00:00:00Z' })
  .transform(text => new Date(text))
  // An offset can move the time to a year whose ISO form has a sign or more digits. The next start could not read it.
  .refine(date => /^\d{4}-/.test(date.toISOString()), { error: 'must be between the years 0 and 9999' })

const KINDS = ['arn', 'principalId', 'accessKey', 'account', 'session'] as const satisfies readonly DenialKind[]
/** Keys of an entry. */
const KEYS: readonly string[] = [...KINDS, 'why', 'until']

const mappingSchema = z.strictObject(
  {
    ...(Object.fromEntries(KINDS.map(kind => [kind, valueSchema.optional()])) as Record<
      DenialKind,
      z.ZodOptional<typeof valueSchema>
    >),
    why: z
      .string({ error: 'must be text' })
      .max(MAX_WHY_LENGTH, { error: `must have at most ${MAX_WHY_LENGTH} characters` })
      .optional(),
    until: untilSchema.optional(),
  },
  {
    error: issue =>
      issue.code === 'invalid_type' ? 'must be an ARN, id, access key or account, or a mapping with one' : undefined,
  },
)

type ParsedValue = { value: string } | { problem: string }

/** Parses the value of each kind into the spelling of identities. */
const valueParsers: Record<DenialKind, (text: string) => ParsedValue> = {
  arn: text => {
    const arn = parseArn(text)
    if (!arn) return { problem: 'must be the full ARN of a user, role, assumed-role, federated-user or root' }
    if (arn.session !== undefined) return { problem: 'names a single session; write session, or name its role' }
    return { value: canonicalizeArn(arn) }
  },
  session: text => {
    const arn = parseArn(text)
    if (arn?.session === undefined) return { problem: 'must be arn:aws:sts::ACCOUNT:assumed-role/ROLE/SESSION' }
    return { value: formatSession(arn) }
  },
  principalId: text =>
    matchForm(
      text,
      /^(AIDA|AROA)[A-Z0-9]{12,124}$|^\d{12}(:[\w+=,.@-]{2,32})?$/,
      'an id like AIDA… or AROA…, without a session name',
    ),
  accessKey: text => matchForm(text, /^(AKIA|ASIA)[A-Z0-9]{12,124}$/, 'an access key id like AKIA… or ASIA…'),
  account: text => matchForm(text, /^\d{12}$/, 'an account of 12 digits'),
}

function matchForm(text: string, form: RegExp, expected: string): ParsedValue {
  return form.test(text) ? { value: text } : { problem: `must be ${expected}` }
}

/** The kind of a text without one, by its start. */
const KIND_BY_FORM: readonly (readonly [RegExp, DenialKind])[] = [
  [/^arn:[^:]*:sts::[^:]*:assumed-role\/[^/]+\/[^*]/, 'session'],
  [/^arn:/, 'arn'],
  [/^A(KIA|SIA)/, 'accessKey'],
  [/^A(IDA|ROA)/, 'principalId'],
  [/^\d{12}$/, 'account'],
]

/** Parses an entry of a YAML or JSON list. Returns a predicate that describes the problem if it is invalid. */
export function parseDenial(entry: unknown): Denial | string {
  if (typeof entry === 'number') return UNQUOTED_NUMBER
  if (typeof entry === 'string') {
    const name = findMissingBlankOfEntry(entry, KEYS)
    if (name !== undefined) return `${name}: ${MISSING_BLANK}`
    const kind = KIND_BY_FORM.find(([form]) => form.test(entry))?.[1]
    if (kind === undefined) return 'must be an ARN, a principal id, an access key id, or an account of 12 digits'
    return parseValue(kind, entry)
  }
  const { data, error } = mappingSchema.safeParse(entry)
  if (!data) return describeIssue(error)
  const { why, until } = data
  const [kind, ...otherKinds] = KINDS.filter(kind => data[kind] !== undefined)
  if (kind === undefined || otherKinds.length > 0) return `must have exactly one of ${KINDS.join(', ')}`
  const denial = parseValue(kind, data[kind] ?? '')
  return typeof denial === 'string' ? denial : { ...denial, ...(why && { why }), ...(until && { until }) }
}

function parseValue(kind: DenialKind, text: string): Denial | string {
  const parsed = valueParsers[kind](text)
  return 'problem' in parsed ? `${kind}: ${parsed.problem}` : { kind, value: parsed.value }
}

function describeIssue({ issues: [issue] }: z.ZodError): string {
  if (issue?.code === 'unrecognized_keys') return describeUnknownKey(issue.keys[0] ?? '')
  return `${issue?.path.length ? `${issue.path.join('.')}: ` : ''}${issue?.message}`
}

/** A key is not repeated: without a blank after its colon, a value is a part of the key. */
function describeUnknownKey(key: string): string {
  const name = findMissingBlank(key, KEYS)
  if (name !== undefined) return `${name}: ${MISSING_BLANK}`
  return `has an unknown key, ${describeText(key)}${didYouMean(key, KEYS)}`
}

/** Joins the denials of several sources. Of two denials of the same principal, the one that lasts longer counts. */
export function createDenyList(...sources: readonly (readonly Denial[])[]): DenyList {
  const byKey = new Map<string, Denial>()
  for (const denial of sources.flat()) {
    const other = byKey.get(getDenialKey(denial))
    if (!other || endOf(other) < endOf(denial)) byKey.set(getDenialKey(denial), denial)
  }
  // A review searches the list for every live connection, so skip the kinds that no denial has.
  const kinds = new Set([...byKey.values()].map(({ kind }) => kind))
  const find = (kind: DenialKind, value: string, now: number): Denial | undefined => {
    const denial = kinds.has(kind) ? byKey.get(getDenialKey({ kind, value })) : undefined
    return denial && !hasExpired(denial, now) ? denial : undefined
  }
  return {
    all: [...byKey.values()],
    findByAccessKey: (accessKeyId, now) => find('accessKey', accessKeyId, now),
    find: (subject, accessKeyId, now) =>
      find('arn', subject.canonical, now) ??
      find('principalId', subject.principalId, now) ??
      find('accessKey', accessKeyId, now) ??
      find('account', subject.account, now) ??
      (subject.session === undefined ? undefined : find('session', formatSession(subject), now)),
  }
}

/** The denial as logs and responses name it: the ARN alone, or a kind with its value. */
export function formatDenial({ kind, value }: Pick<Denial, 'kind' | 'value'>): string {
  return kind === 'arn' ? value : `${kind} ${value}`
}

/**
 * The key of a denial, the same for all spellings of a principal. IAM names are unique within an account regardless of
 * case and path. A denial in another case or with another path therefore means the same principal; comparing exactly
 * would let it match no one, without a warning.
 */
export function getDenialKey({ kind, value }: Pick<Denial, 'kind' | 'value'>): string {
  return `${kind} ${kind === 'arn' ? value.replace(/:user\/.*\//, ':user/').toLowerCase() : value}`
}

/** `now`: milliseconds since 1970. */
export const hasExpired = (denial: Denial, now: number): boolean => endOf(denial) <= now

const endOf = ({ until }: Denial): number => until?.getTime() ?? Number.POSITIVE_INFINITY

/** The ARN of a session, as STS spells it. */
function formatSession({ partition, account, name, session }: Pick<Arn, 'partition' | 'account' | 'name' | 'session'>) {
  return `arn:${partition}:sts::${account}:assumed-role/${name}/${session}`
}
