/**
 * Says what to do about a refused login, with text for the clipboard where there is one: the YAML of a rule, or a command. Pure.
 *
 * ARNs are texts of AWS accounts that anyone can own, and an operator pastes the result into a configuration or a shell. So
 * every ARN is parsed, then quoted for YAML or the shell.
 */
import type { AdminRefusal } from '../admin/refusals.js'
import { type FaultKind, faults } from '../errors.js'
import { canonicalizeArn, parseArn } from '../identity/arn.js'
import { parseIPAddress } from '../ipAddress.js'
import { parsePrincipal } from '../users/principals.js'
import type { Advice } from './snapshot.js'

type Refusal = Pick<AdminRefusal, 'fault' | 'reason' | 'remedy' | 'address' | 'arn' | 'denial'>

/** Advice that is better than the remedy of the fault, because it knows this refusal. */
const ADVICE: Partial<Record<FaultKind, (refusal: Refusal) => Advice | undefined>> = {
  'users/no-rule': adviseRule,
  'users/source-not-allowed': adviseSource,
  'users/recreated': adviseRecreated,
  'login/denied': adviseDenied,
  'sts/refused': adviseCredentials,
  'login/failure-limit': adviseCredentials,
  'sts/unavailable': ({ remedy }) => ({ text: remedy, copy: 'mongo-iam-proxy check' }),
  'users/unreadable': ({ remedy }) => ({ text: remedy, copy: 'mongo-iam-proxy check' }),
  'upstream/authentication-failed': ({ remedy }) => ({ text: remedy, copy: 'mongo-iam-proxy check' }),
}

export function adviseOn(refusal: Refusal): Advice {
  const { fault, remedy } = refusal
  const advise = isFaultKind(fault) ? ADVICE[fault] : undefined
  return advise?.(refusal) ?? { text: remedy }
}

const isFaultKind = (fault: string): fault is FaultKind => Object.hasOwn(faults, fault)

/** The names that AWS gives to the roles of permission sets. */
const PERMISSION_SET =
  /^arn:(?<partition>[a-z-]+):iam::(?<account>\d{12}):role\/AWSReservedSSO_(?<name>.+)_[0-9a-f]{16}$/

/** The roles are left to the operator: a suggestion would be pasted as it is. */
function adviseRule({ arn }: Refusal): Advice | undefined {
  const principal = findPrincipal(arn)
  if (principal === undefined) return undefined
  const { partition, account, name } = PERMISSION_SET.exec(principal)?.groups ?? {}
  const lines =
    name === undefined
      ? [`- arn: ${quoteYaml(principal)}`]
      : [
          '- sso:',
          `    permissionSet: ${quoteYaml(name)}`,
          `    account: ${quoteYaml(account ?? '')}`,
          ...(partition === 'aws' ? [] : [`    partition: ${quoteYaml(partition ?? '')}`]),
        ]
  return {
    text: 'If this principal should have access, add this rule to `users` in the configuration and fill in its roles, such as `readWrite@app`.',
    copy: [...lines, '  roles: []', ''].join('\n'),
  }
}

function adviseSource({ address }: Refusal): Advice | undefined {
  const network = toNetwork(address)
  return network === undefined
    ? undefined
    : {
        text: 'If this client is legitimate, add its network to `clientSource` of the rule or of the $external user. Otherwise find out who has these credentials.',
        copy: network,
      }
}

function adviseRecreated({ arn }: Refusal): Advice | undefined {
  const principal = findPrincipal(arn)
  if (principal === undefined) return undefined
  const body = JSON.stringify({ arn: principal })
  return {
    text: 'Find out who recreated it. To trust it, change `principalId` of its rule, or clear its pin with this command.',
    copy: `curl -X DELETE -H "Authorization: Bearer $(cat admin-token)" -H 'Content-Type: application/json' -d ${quoteShell(body)} http://127.0.0.1:9216/pins`,
  }
}

/** A denial of another kind than an ARN is not for the command. */
function adviseDenied({ denial }: Refusal): Advice | undefined {
  const principal = findPrincipal(denial)
  return principal === undefined
    ? undefined
    : {
        text: 'The denial holds until somebody removes it. If it is in `deny.file`, remove it there; otherwise run this command.',
        copy: `mongo-iam-proxy undeny ${quoteShell(principal)} --token-file admin-token`,
      }
}

const CREDENTIALS = 'aws sts get-caller-identity'

/** What the codes of AWS mean for the client. The reason contains the code. */
const CODES: readonly (readonly [code: RegExp, text: string])[] = [
  [
    /\bExpiredToken\b/,
    'The session of the client has expired. Renew its credentials, or let the application renew them.',
  ],
  [
    /\bSignatureDoesNotMatch\b/,
    'The secret key of the client is wrong, or characters were lost when it was copied. On the client, this command has to succeed:',
  ],
  [
    /\bInvalidClientTokenId\b/,
    'The access key is inactive or does not exist, or the session token is damaged or belongs to another key. On the client, this command has to succeed:',
  ],
]

function adviseCredentials({ reason }: Refusal): Advice | undefined {
  const text = CODES.find(([code]) => code.test(reason))?.[1]
  return text === undefined ? undefined : { text, ...(text.endsWith(':') && { copy: CREDENTIALS }) }
}

/**
 * The canonical ARN of a principal, if a rule with it names this principal and no other. IAM allows a literal * in a path, which
 * a rule reads as a wildcard.
 */
function findPrincipal(text: string | null): string | undefined {
  const arn = text === null ? undefined : parseArn(text)
  if (!arn) return undefined
  const principal = canonicalizeArn(arn)
  const pattern = parsePrincipal(principal)
  return typeof pattern === 'object' && pattern.exact ? principal : undefined
}

function toNetwork(address: string): string | undefined {
  const parsed = parseIPAddress(address)
  return parsed && `${parsed.toString()}/${parsed.kind() === 'ipv4' ? 32 : 128}`
}

/** YAML reads a JSON text as it is. */
const quoteYaml = (text: string): string => JSON.stringify(text)

/** Nothing has a meaning to a shell between single quotes, except their end. */
const quoteShell = (text: string): string =>
  /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`
