/**
 * Parses the ARN of a principal, and gives each principal one canonical ARN.
 *
 *     arn:PARTITION:iam::ACCOUNT:user/[PATH/]NAME             arn:PARTITION:iam::ACCOUNT:role/[PATH/]NAME
 *     arn:PARTITION:sts::ACCOUNT:assumed-role/NAME/SESSION    arn:PARTITION:sts::ACCOUNT:federated-user/NAME
 *     arn:PARTITION:iam::ACCOUNT:root
 *
 * https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_identifiers.html
 */
import { type Partition, partitions } from './partition.js'

export type PrincipalKind = 'user' | 'role' | 'assumed-role' | 'federated-user' | 'root'

/**
 * The parts of an ARN. `path` starts and ends with a slash. `session` is the session name, which the caller of AssumeRole
 * chooses freely; it is undefined if the ARN means every session (`assumed-role/R` and `assumed-role/R/*`).
 */
export type Arn = {
  partition: Partition
  account: string
  kind: PrincipalKind
  path: string
  name: string
  session: string | undefined
}

const MAX_ARN_LENGTH = 2048
const PATH = '(?<path>/|/[\\x21-\\x7e]{1,510}/)'

/** Names and paths have the lengths that IAM allows. */
const FORMS: { kind: PrincipalKind; form: RegExp }[] = [
  { kind: 'user', form: new RegExp(`^iam::(?<account>\\d{12}):user${PATH}(?<name>[\\w+=,.@-]{1,64})$`) },
  { kind: 'role', form: new RegExp(`^iam::(?<account>\\d{12}):role${PATH}(?<name>[\\w+=,.@-]{1,64})$`) },
  {
    kind: 'assumed-role',
    form: /^sts::(?<account>\d{12}):assumed-role\/(?<name>[\w+=,.@-]{1,64})(?:\/(?:\*|(?<session>[\w+=,.@-]{2,64})))?$/,
  },
  { kind: 'federated-user', form: /^sts::(?<account>\d{12}):federated-user\/(?<name>[\w+=,.@-]{2,32})$/ },
  { kind: 'root', form: /^iam::(?<account>\d{12}):(?<name>root)$/ },
]

/** Undefined unless the whole text is the ARN of a principal. */
export function parseArn(text: string): Arn | undefined {
  if (text.length > MAX_ARN_LENGTH) return undefined
  const { partition = '', rest = '' } = /^arn:(?<partition>[a-z-]+):(?<rest>[\x21-\x7e]+)$/.exec(text)?.groups ?? {}
  if (!isPartition(partition)) return undefined
  for (const { kind, form } of FORMS) {
    const parts = form.exec(rest)?.groups
    if (!parts) continue
    const { account = '', path = '/', name = '', session } = parts
    return { partition, account, kind, path, name, session }
  }
  return undefined
}

/**
 * The canonical ARN of a principal. For a role it omits the path, since STS does not report it and role names are
 * unique in an account without it, and the session, since the caller chooses it. Case is significant.
 */
export function canonicalizeArn({ partition, account, kind, path, name }: Arn): string {
  const resource: Record<PrincipalKind, string> = {
    user: `iam::${account}:user${path}${name}`,
    role: `iam::${account}:role/${name}`,
    'assumed-role': `iam::${account}:role/${name}`,
    'federated-user': `sts::${account}:federated-user/${name}`,
    root: `iam::${account}:root`,
  }
  return `arn:${partition}:${resource[kind]}`
}

function isPartition(text: string): text is Partition {
  return partitions.has(text)
}
