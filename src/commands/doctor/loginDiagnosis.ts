/** Diagnoses of the reply to a login, of LDAP authorization, and of the rule that decides. */
import { type FaultKind, faults } from '../../errors.js'
import { type Diagnosis, failure, note, ok, warning } from './diagnosis.js'
import { skipped } from './helloDiagnosis.js'

export type LoginEvidence =
  | { is: 'accepted'; user: string; roles: readonly string[] }
  | { is: 'refused'; code: number; codeName: string; message: string }
  /** `code`: of the system, if the connection failed. */
  | { is: 'failed'; code: string }

/** What the owner of a client can do. The remedies in the table of faults are for the operator of the proxy. */
const ADVICE: Partial<Record<FaultKind, string>> = {
  'users/no-rule': 'let its operator add this ARN to `users`, or a DBA create a user for it in $external',
  'users/source-not-allowed': 'connect from a permitted network, or let its operator change clientSource',
  'users/expired': 'let its operator set a later deleteAfterDate',
  'users/recreated': 'let its operator confirm the new principal and clear its pin',
  'users/ambiguous': 'let a DBA drop all but one of the users for this principal',
  'login/denied': 'ask its operator why, who can remove the denial',
  'login/failure-limit': 'correct the credentials of every client that uses this key, then wait',
  'login/signature-limit': 'correct the secret key of the client that keeps failing, then retry',
  'login/concurrency-limit': 'retry, or let its operator raise login.perAddress',
  'login/principal-limit': 'open fewer connections (maxPoolSize, processes), or let its operator raise maxSessions',
  'login/session-limit': 'retry later, and let its operator raise listen.connections or add a proxy',
  'login/timeout': 'retry, and let its operator look for the slow stage in the log',
  'budget/exhausted': 'retry later; reduce logins with one client per process and a smaller maxPoolSize',
  'sts/refused': 'get new credentials; the message has the code of AWS',
  'sts/throttled': 'retry later; the account makes too many calls to STS',
  'sts/unavailable': 'retry later, and let its operator run `mongo-iam-proxy check`: the proxy does not reach AWS',
  'proof/clock-skew': 'synchronize the clock of this machine',
  'proof/malformed': 'correct the credentials as the message says',
  'ldap/on': 'this MongoDB cannot be used with IAM until its operator turns LDAP authorization off',
  'ldap/unknown': 'let its operator grant clusterMonitor to the user of upstream.admin',
  'upstream/unreachable': 'let its operator run `mongo-iam-proxy check`: MongoDB cannot be reached, or has no primary',
  'upstream/authentication-failed':
    'let its operator correct the password of the rule: MongoDB refuses the database user',
  'provision/failed': 'let its operator run `mongo-iam-proxy check`: MongoDB refuses to create the database user',
}

/** The fault whose summary begins the message of a reply. A longer summary wins. */
export function findFault(message: string): FaultKind | undefined {
  const kinds = (Object.keys(faults) as FaultKind[]).filter(kind => message.startsWith(faults[kind].summary))
  return kinds.sort((one, other) => faults[other].summary.length - faults[one].summary.length)[0]
}

export function diagnoseLogin(evidence: LoginEvidence): Diagnosis {
  if (evidence.is === 'accepted') {
    const { user, roles } = evidence
    return ok(`succeeds as the database user ${user}${roles.length > 0 ? `, with ${roles.join(', ')}` : ''}`)
  }
  if (evidence.is === 'failed') {
    return failure(`the connection ends during the login (${evidence.code}); let its operator look into the log`)
  }
  const { code, codeName, message } = evidence
  const kind = findFault(message)
  const advice = kind === undefined ? undefined : (ADVICE[kind] ?? faults[kind].remedy.replace(/\.$/, ''))
  return failure(`the proxy answers ${code} ${codeName}: ${message}${advice === undefined ? '' : `; ${advice}`}`)
}

/** LDAP authorization of the MongoDB behind the proxy, as far as the reply to the login shows it. */
export function diagnoseLdap(evidence: LoginEvidence | undefined): Diagnosis {
  if (evidence === undefined) return skipped('a login would show it')
  if (evidence.is === 'accepted') return ok('does not prevent logins')
  const kind = evidence.is === 'refused' ? findFault(evidence.message) : undefined
  if (kind !== 'ldap/on' && kind !== 'ldap/unknown') return note('unknown: the login ended before this was decided')
  return failure(`${faults[kind].summary}; ${ADVICE[kind]}`)
}

/** The result of `explain`, as far as it matters here. */
export type RuleEvidence = {
  isComplete: boolean
  isDecided: boolean
  isDenied: boolean
  details: readonly { label: string; text: string }[]
}

export function diagnoseRule({ isComplete, isDecided, isDenied, details }: RuleEvidence): Diagnosis {
  const text = (...labels: string[]) =>
    details
      .filter(({ label }) => labels.includes(label))
      .map(({ label, text }) => (label === 'refused' || label === 'decided by' ? text : `${label}: ${text}`))
      .join('; ')
  if (isDenied) return failure(`${text('denied')}; ask its operator why`)
  if (isDecided) return ok(text('decided by', 'database user', 'roles', 'client source', 'expires'))
  const miss = text('refused', 'directory', 'note', 'nearest miss')
  return isComplete ? failure(`${miss}; add a rule to users`) : warning(miss)
}
