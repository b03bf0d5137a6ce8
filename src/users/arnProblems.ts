/** What is wrong with a text that should be the ARN of a principal. Each sentence says what to write instead. */
import { parseArn } from '../identity/arn.js'
import { partitions } from '../identity/partition.js'

const because = (fact: string) => `is not the ARN of a principal: it ${fact}`

/** Each problem, and the form of the text that has it. The first form that fits is reported. */
const PROBLEMS: readonly (readonly [form: RegExp, problem: string])[] = [
  [/^\d/, 'is not an ARN; write the whole ARN, as `aws sts get-caller-identity` prints it'],
  [/[\s\p{C}]/u, because('contains a blank, a line break or another invisible character, which no ARN has')],
  [/[^\x21-\x7e]/, because('contains a character outside ASCII, which no ARN has; type the ARN again')],
  [/\?/, 'contains ?; the only wildcard is *, inside a name'],
  [/^(?!arn:)[Aa][Rr][Nn]:/, because('must begin with arn: in lower case')],
  [/^(?!arn:)/, because('must begin with arn:, without anything in front of it')],
  [/^arn:[^:]*[^a-z:-][^:]*:/, because('has no valid partition; it is aws, aws-cn or aws-us-gov, in lower case')],
  [/^arn:[^:]*:(?:iam|sts):[^:]+:/, because('has a text between the service and the account; write two colons there')],
  [/^arn:[^:]*:(?:iam|sts)::(?!\d{12}:)/, 'needs an account of 12 digits, written out'],
  [
    /^arn:[^:]*:(?!iam:|sts:)/,
    because('is not of IAM or STS, whose ARNs begin with arn:PARTITION:iam:: or arn:PARTITION:sts::'),
  ],
  [/:group\//, 'is a group, and a group has no credentials; name its users or a role'],
  [/:instance-profile\//, 'is an instance profile; name its role'],
  [/:roles\//i, because('says roles; write role/NAME')],
  [/:users\//i, because('says users; write user/NAME')],
  [/:sts::\d*:role\//, because('is a role of sts; write arn:PARTITION:iam::ACCOUNT:role/NAME')],
  [/:sts::\d*:user\//, because('is a user of sts; write arn:PARTITION:iam::ACCOUNT:user/NAME')],
  [/:iam::\d*:assumed-role\//, because('is an assumed role of iam; write arn:PARTITION:iam::ACCOUNT:role/NAME')],
  [/^/, 'is not the ARN of a user, role, assumed-role, federated-user or root'],
]

/** The end of a sentence whose subject is a text that `parseArn` rejects. */
export function describeArnProblem(text: string): string {
  const [, partition] = /^arn:([a-z-]+):/.exec(text) ?? []
  if (partition !== undefined && !partitions.has(partition)) return because('has a partition that does not exist')
  return PROBLEMS.find(([form]) => form.test(text))?.[1] ?? ''
}

/**
 * Names that were meant as ARNs: they contain `arn:`, or the parts of an ARN around a missing or strange beginning. Names of
 * X.509, Kerberos and LDAP users do not.
 */
const MEANT_AS_ARN = /arn\s*:|(?:iam|sts)\s*::|:\s*(?:assumed-)?roles?\/|:\s*users?\//i

/** What is wrong with the name of an `$external` user that was meant as an ARN; undefined for every other name. */
export function describeMalformedName(name: string): string | undefined {
  if (parseArn(name)) return undefined
  const plain = name.normalize('NFKC')
  if (!MEANT_AS_ARN.test(plain)) {
    const decoded = plain.replace(/%([2-7][0-9a-f])/gi, (_, code: string) =>
      String.fromCharCode(Number.parseInt(code, 16)),
    )
    return MEANT_AS_ARN.test(decoded) ? 'is percent-encoded; write : and / as they are' : undefined
  }
  if (name.includes('*'))
    return 'contains *, and names in $external are no patterns; write a rule, or one user for each principal'
  return describeArnProblem(name)
}
