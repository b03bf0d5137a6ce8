/** The deny list: who is refused whatever a rule says, and whose live connections end. */
import { z } from 'zod'
import { type Arn, canonicalizeArn, parseArn } from '../identity/arn.js'
import type { Identity } from '../identity/reply.js'

/** `value` is spelled as identities are: an ARN is canonical, a session keeps its name. */
export type Denial = { kind: DenialKind; value: string; why?: string; until?: Date }
export type DenialKind = 'arn' | 'principalId' | 'accessKey' | 'account' | 'session'

export type DenyList = {
  all: readonly Denial[]
  /** Asked before STS is: what a key says about itself, such as its account, is anybody's to forge, so its name alone counts. */
  findByAccessKey(accessKeyId: string, now: number): Denial | undefined
  find(identity: DenialSubject, accessKeyId: string, now: number): Denial | undefined
}

/** What of an identity is looked at. */
export type DenialSubject = Pick<
  Identity,
  'canonical' | 'kind' | 'partition' | 'account' | 'name' | 'principalId' | 'session'
>

const LONGEST = 500
const NUMBER = 'is a number to YAML, which drops leading zeros: write it in quotes'
const text = z.string({ error: issue => (typeof issue.input === 'number' ? NUMBER : 'wanted text') }).max(2048)
const when = z.iso
  .datetime({ offset: true, error: 'wanted a time like 2026-12-24T00:00:00Z' })
  .transform(written => new Date(written))
  // Its offset may carry it into a year that is not written like others, which no later start could read.
  .refine(date => /^\d{4}-/.test(date.toISOString()), { error: 'is beyond the years from 0 to 9999' })

const KINDS = ['arn', 'principalId', 'accessKey', 'account', 'session'] as const satisfies readonly DenialKind[]
const mapping = z.strictObject(
  {
    ...(Object.fromEntries(KINDS.map(kind => [kind, text.optional()])) as Record<
      DenialKind,
      z.ZodOptional<typeof text>
    >),
    why: z
      .string({ error: 'wanted text' })
      .max(LONGEST, { error: `is longer than ${LONGEST} characters` })
      .optional(),
    until: when.optional(),
  },
  {
    error: issue =>
      issue.code === 'invalid_type'
        ? 'wanted an ARN, an id, an access key, an account, or a mapping of one'
        : undefined,
  },
)

/** By kind: the value as identities spell it, or what is wrong with it. */
const forms: Record<DenialKind, (written: string) => { value: string } | { wrong: string }> = {
  arn: written => {
    const arn = parseArn(written)
    if (!arn) return { wrong: 'wanted the whole ARN of a user, role, assumed-role, federated-user or root' }
    if (arn.session !== undefined) return { wrong: 'is the ARN of one session: call it session, or name its role' }
    return { value: canonicalizeArn(arn) }
  },
  session: written => {
    const arn = parseArn(written)
    if (arn?.session === undefined) return { wrong: 'wanted arn:aws:sts::ACCOUNT:assumed-role/ROLE/SESSION' }
    return { value: sessionOf(arn) }
  },
  principalId: written =>
    /^(AIDA|AROA)[A-Z0-9]{12,124}$|^\d{12}(:[\w+=,.@-]{2,32})?$/.test(written)
      ? { value: written }
      : { wrong: 'wanted an id like AIDA… or AROA…, without the name of a session behind it' },
  accessKey: written =>
    /^(AKIA|ASIA)[A-Z0-9]{12,124}$/.test(written) ? { value: written } : { wrong: 'wanted a key like AKIA… or ASIA…' },
  account: written => (/^\d{12}$/.test(written) ? { value: written } : { wrong: 'wanted the 12 digits of an account' }),
}

/** What a text without a kind is, by how it begins. */
const looks: readonly (readonly [RegExp, DenialKind])[] = [
  [/^arn:[^:]*:sts::[^:]*:assumed-role\/[^/]+\/[^*]/, 'session'],
  [/^arn:/, 'arn'],
  [/^A(KIA|SIA)/, 'accessKey'],
  [/^A(IDA|ROA)/, 'principalId'],
  [/^\d{12}$/, 'account'],
]

/** One entry as YAML or JSON gives it, or the sentence about what is wrong with it. */
export function parseDenial(entry: unknown): Denial | string {
  if (typeof entry === 'number') return NUMBER
  if (typeof entry === 'string') {
    const of = looks.find(([look]) => look.test(entry))?.[1]
    return of === undefined ? 'is no ARN, principal id, access key or account of 12 digits' : spelled(of, entry)
  }
  const { data, error } = mapping.safeParse(entry)
  if (!data) return sentence(error)
  const { why, until } = data
  const given = KINDS.filter(kind => data[kind] !== undefined)
  const [of] = given
  if (of === undefined || given.length > 1) return `needs one of ${KINDS.join(', ')}`
  const denial = spelled(of, data[of] ?? '')
  return typeof denial === 'string' ? denial : { ...denial, ...(why && { why }), ...(until && { until }) }
}

function spelled(of: DenialKind, written: string): Denial | string {
  const read = forms[of](written)
  return 'wrong' in read ? `${of}: ${read.wrong}` : { kind: of, value: read.value }
}

function sentence({ issues: [issue] }: z.ZodError): string {
  if (issue?.code === 'unrecognized_keys') return `there is no ${issue.keys.join(', ')} here`
  return `${issue?.path.length ? `${issue.path.join('.')}: ` : ''}${issue?.message}`
}

/** Denials of several sources are added up; of two about the same, the longer one counts. */
export function createDenyList(...lists: readonly (readonly Denial[])[]): DenyList {
  const all = new Map<string, Denial>()
  for (const denial of lists.flat()) {
    const known = all.get(getDenialKey(denial))
    if (!known || endOf(known) < endOf(denial)) all.set(getDenialKey(denial), denial)
  }
  // A review asks about every live connection, so nothing is looked up that nobody is denied by.
  const kinds = new Set([...all.values()].map(({ kind: of }) => of))
  const find = (of: DenialKind, value: string, now: number): Denial | undefined => {
    const denial = kinds.has(of) ? all.get(getDenialKey({ kind: of, value })) : undefined
    return denial && !hasExpired(denial, now) ? denial : undefined
  }
  return {
    all: [...all.values()],
    findByAccessKey: (accessKeyId, now) => find('accessKey', accessKeyId, now),
    find: (identity, accessKeyId, now) =>
      find('arn', identity.canonical, now) ??
      find('principalId', identity.principalId, now) ??
      find('accessKey', accessKeyId, now) ??
      find('account', identity.account, now) ??
      (identity.session === undefined ? undefined : find('session', sessionOf(identity), now)),
  }
}

/** A denial as logs and answers call it: `arn arn:aws:iam::…`. */
export function formatDenial({ kind, value }: Pick<Denial, 'kind' | 'value'>): string {
  return `${kind} ${value}`
}

/**
 * What a denial is found by, the same for all that deny the same. Names are unique within an account whatever their case
 * and path, so a denial with another one means the same principal, and would else deny nobody without a word.
 */
export function getDenialKey({ kind, value }: Pick<Denial, 'kind' | 'value'>): string {
  return `${kind} ${kind === 'arn' ? value.replace(/:user\/.*\//, ':user/').toLowerCase() : value}`
}

/** `now`: milliseconds since 1970. */
export const hasExpired = (denial: Denial, now: number): boolean => endOf(denial) <= now

const endOf = ({ until }: Denial): number => until?.getTime() ?? Number.POSITIVE_INFINITY

/** One session, as STS spells it. */
function sessionOf(one: Pick<Arn, 'partition' | 'account' | 'name' | 'session'>): string {
  return `arn:${one.partition}:sts::${one.account}:assumed-role/${one.name}/${one.session}`
}
