/**
 * ARNs of principals, taken apart and brought to the one spelling by which a principal is known here.
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
 * The parts of an ARN. `path` starts and ends with a slash. `session` is a name that whoever assumed the role chose
 * freely; it is undefined where the ARN means every session (`assumed-role/R` and `assumed-role/R/*`).
 */
export type Arn = {
  partition: Partition
  account: string
  kind: PrincipalKind
  path: string
  name: string
  session: string | undefined
}

const LONGEST = 2048
const PATH = '(?<path>/|/[\\x21-\\x7e]{1,510}/)'

/** One row a form; names and paths as long as IAM lets them be. */
const forms: { kind: PrincipalKind; form: RegExp }[] = [
  { kind: 'user', form: new RegExp(`^iam::(?<account>\\d{12}):user${PATH}(?<name>[\\w+=,.@-]{1,64})$`) },
  { kind: 'role', form: new RegExp(`^iam::(?<account>\\d{12}):role${PATH}(?<name>[\\w+=,.@-]{1,64})$`) },
  {
    kind: 'assumed-role',
    form: /^sts::(?<account>\d{12}):assumed-role\/(?<name>[\w+=,.@-]{1,64})(?:\/(?:\*|(?<session>[\w+=,.@-]{2,64})))?$/,
  },
  { kind: 'federated-user', form: /^sts::(?<account>\d{12}):federated-user\/(?<name>[\w+=,.@-]{2,32})$/ },
  { kind: 'root', form: /^iam::(?<account>\d{12}):(?<name>root)$/ },
]

/** The parts of an ARN; undefined where the text is not the ARN of a principal, to the last character. */
export function parseArn(text: string): Arn | undefined {
  if (text.length > LONGEST) return undefined
  const { partition = '', rest = '' } = /^arn:(?<partition>[a-z-]+):(?<rest>[\x21-\x7e]+)$/.exec(text)?.groups ?? {}
  if (!isPartition(partition)) return undefined
  for (const { kind, form } of forms) {
    const parts = form.exec(rest)?.groups
    if (!parts) continue
    const { account = '', path = '/', name = '', session } = parts
    return { partition, account, kind, path, name, session }
  }
  return undefined
}

/**
 * The one spelling of a principal. A role loses its path, since STS does not tell it and names are unique without it,
 * and its session, since that is the caller's to choose. Case is kept: nothing here folds it.
 */
export function canonicalizeArn({ partition, account, kind, path, name }: Arn): string {
  const spelled: Record<PrincipalKind, string> = {
    user: `iam::${account}:user${path}${name}`,
    role: `iam::${account}:role/${name}`,
    'assumed-role': `iam::${account}:role/${name}`,
    'federated-user': `sts::${account}:federated-user/${name}`,
    root: `iam::${account}:root`,
  }
  return `arn:${partition}:${spelled[kind]}`
}

function isPartition(text: string): text is Partition {
  return partitions.has(text)
}
