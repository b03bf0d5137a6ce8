/**
 * `explain ARN`: the rule or `$external` user that decides about a principal, what it grants and on which conditions, and
 * whether the principal is denied. Without a match, the nearest miss.
 */
import type { Document } from 'bson'
import type { LoadedConfig, Policy } from '../app/policy.js'
import { formatDuration } from '../config/definition.js'
import { servedPartition } from '../config/hosts.js'
import type { Config } from '../config/load.js'
import { Fault } from '../errors.js'
import { type Arn, canonicalizeArn, parseArn } from '../identity/arn.js'
import { describeText } from '../redaction.js'
import { openAdminDenials } from '../revocation/adminDenials.js'
import { createDenyList, formatDenial } from '../revocation/denials.js'
import { type AdminClient, createAdminClient } from '../upstream/admin.js'
import { assertOk } from '../upstream/reply.js'
import { describeArnProblem, describeMalformedName } from '../users/arnProblems.js'
import { type DirectoryMatch, describeProblem, isProblem, parseDirectoryUsers } from '../users/directoryUsers.js'
import { type DatabaseUser, type Grant, isExpired, type Match } from '../users/match.js'
import { type Candidate, findNearestMiss } from '../users/nearestMiss.js'
import { formatNetwork } from '../users/networks.js'
import { openPins } from '../users/pins.js'
import { formatRole } from '../users/roles.js'
import type { Rule } from '../users/rules.js'
import { createExternalUsers, describeReadFailure } from '../users/systemUsers.js'

/**
 * `isComplete` is false if the directory or the roles could not be read. `lines` are `details` in columns. `decidedBy` is
 * null if neither a rule nor a directory user matches; `isDenied` tells whether the deny list refuses the ARN.
 */
export type Explanation = {
  principal: string
  isComplete: boolean
  decidedBy: Match['decidedBy'] | null
  isDenied: boolean
  details: readonly { label: string; text: string }[]
  lines: readonly string[]
}

/** Of the JSON below. Later releases may add fields to a version. */
const JSON_VERSION = 1

/** The explanation in one JSON document. */
export function formatExplanationAsJson({ principal, isComplete, decidedBy, isDenied, details }: Explanation): string {
  return JSON.stringify({
    version: JSON_VERSION,
    principal,
    complete: isComplete,
    decidedBy,
    denied: isDenied,
    details,
  })
}

/**
 * Explains the principal of an ARN, in any spelling. `now`: milliseconds since 1970.
 * Throws `usage` for a text that is not the ARN of a principal, and `config/invalid`.
 */
export async function explain({ config, policy }: LoadedConfig, text: string, now: number): Promise<Explanation> {
  const principal = parseArn(text)
  if (!principal) throw new Fault('usage', `${describeText(text)} ${describeArnProblem(text)}`)
  const admin = config.upstream.admin && createAdminClient(config.upstream.admin)
  try {
    return await new Explainer({ config, policy, principal, admin, now }).explain()
  } finally {
    await admin?.close()
  }
}

type ExplainerOptions = {
  config: Config
  policy: Policy
  principal: Arn
  /** Undefined without `upstream.admin`. */
  admin: AdminClient | undefined
  now: number
}

const UNAUTHORIZED = 13
const MAX_MALFORMED_NAMES = 5
const LABEL_WIDTH = 16

/** Collects the lines, each a label and a text. */
class Explainer {
  readonly #options: ExplainerOptions
  readonly #canonical: string
  readonly #details: { label: string; text: string }[] = []
  #isComplete = true
  #decidedBy: Match['decidedBy'] | null = null
  #isDenied = false

  constructor(options: ExplainerOptions) {
    this.#options = options
    this.#canonical = canonicalizeArn(options.principal)
  }

  async explain(): Promise<Explanation> {
    this.#add('principal', this.#canonical)
    this.#explainPartition()
    const match = this.#options.policy.rules.match({ canonical: this.#canonical }) ?? (await this.#findInDirectory())
    if (!match) await this.#explainMiss()
    else if (isProblem(match)) this.#add('refused', describeProblem(match))
    else await this.#explainMatch(match)
    this.#explainDenial()
    return {
      principal: this.#canonical,
      isComplete: this.#isComplete,
      decidedBy: this.#decidedBy,
      isDenied: this.#isDenied,
      details: this.#details,
      lines: this.#details.map(({ label, text }) => `${label.padEnd(LABEL_WIDTH)}${text}`),
    }
  }

  #add(label: string, text: string): void {
    this.#details.push({ label, text })
  }

  #addUnknown(label: string, text: string): void {
    this.#isComplete = false
    this.#add(label, text)
  }

  /** STS answers with principals of its own partition, so no login is this principal. */
  #explainPartition(): void {
    const { config, principal } = this.#options
    const served = servedPartition(config.sts.hosts)
    if (principal.partition === served) return
    this.#add('refused', `the hosts of sts.hosts name principals of ${served} only, not of ${principal.partition}`)
  }

  /** Undefined if no user of `$external` is this principal, or if the directory is off or unreadable. */
  async #findInDirectory(): Promise<DirectoryMatch | undefined> {
    const { config, admin } = this.#options
    if (!config.directory.enabled || !admin) return undefined
    try {
      const externalUsers = createExternalUsers(command => admin.runCommand(command))
      const { byPrincipal, warnings } = parseDirectoryUsers(await externalUsers.readPrincipal(this.#canonical))
      const match = byPrincipal.get(this.#canonical)
      // The line `refused` says the same about a problem.
      if (!match || !isProblem(match)) for (const warning of warnings) this.#add('note', warning)
      return match
    } catch (thrown) {
      this.#addUnknown('directory', `cannot be read: ${describeReadFailure(thrown)}`)
      return undefined
    }
  }

  async #explainMatch(match: Match): Promise<void> {
    const { decidedBy, grant, clientSource = [], deleteAfterDate, maxAgeMS, maxSessions } = match
    this.#decidedBy = decidedBy
    if ('rule' in decidedBy) this.#add('decided by', `rule ${decidedBy.rule} of users, ${(match as Rule).description}`)
    else this.#add('decided by', `the user ${decidedBy.directoryUser} of $external`)
    await this.#explainGrant(grant)
    for (const networks of clientSource) {
      const list = networks.map(formatNetwork).join(', ')
      this.#add('client source', list || 'none: its restrictions can never be met')
    }
    if (deleteAfterDate) {
      const note = isExpired(match, this.#options.now) ? ', which has passed: logins are refused' : ''
      this.#add('expires', `${deleteAfterDate.toISOString()}${note}`)
    }
    this.#explainPrincipalId(match)
    if (maxAgeMS !== undefined) this.#add('maximum age', formatDuration(maxAgeMS))
    if (maxSessions !== undefined) this.#add('sessions', `at most ${maxSessions}`)
  }

  async #explainGrant(grant: Grant): Promise<void> {
    if ('user' in grant) {
      this.#add('database user', `${grant.user.name}@${grant.user.db}`)
      return this.#explainDatabaseUser(grant.user)
    }
    const { database } = this.#options.config.provision
    this.#add('database user', `${this.#canonical}@${database}, provisioned by the proxy`)
    this.#add('roles', grant.roles.map(formatRole).join(', ') || 'none')
  }

  #explainPrincipalId({ principalId }: Match): void {
    if (principalId === undefined) return
    if (principalId !== 'firstUse') return void this.#add('principal id', `must be ${principalId}`)
    const { file } = this.#options.config.pins
    const pinned = file === undefined ? undefined : openPins(file).get(this.#canonical)
    this.#add('principal id', pinned ? `must be ${pinned}, pinned by the first login` : 'the first login will pin it')
  }

  /** Adds the roles and restrictions that MongoDB has for the user. */
  async #explainDatabaseUser({ name, db }: DatabaseUser): Promise<void> {
    const { admin } = this.#options
    if (!admin) return this.#add('roles', 'unknown without upstream.admin')
    try {
      const command = { usersInfo: { user: name, db }, showAuthenticationRestrictions: true }
      const reply = assertOk(await admin.runCommand(command), 'upstream.admin')
      const [user] = reply.users as Document[]
      if (!user) return this.#add('roles', 'none: this user does not exist')
      this.#add('roles', (user.roles as Document[]).map(({ role, db }) => `${role}@${db}`).join(', ') || 'none')
      const { authenticationRestrictions: restrictions = [] } = user
      if (restrictions.length === 0) return
      const text = JSON.stringify(restrictions)
      this.#add('note', `MongoDB checks its restrictions against the address of the proxy, not of the client: ${text}`)
    } catch (thrown) {
      if (Fault.from(thrown).data('upstream/authentication-failed')?.code === UNAUTHORIZED) {
        this.#add('roles', `unknown: the user of upstream.admin lacks viewUser on ${db}`)
      } else this.#addUnknown('roles', `cannot be read: ${describeReadFailure(thrown)}`)
    }
  }

  async #explainMiss(): Promise<void> {
    const { config, policy, principal } = this.#options
    const { rules } = policy
    const directory = config.directory.enabled ? ' and no user of $external' : ''
    if (this.#isComplete) this.#add('refused', `no rule${directory} names this principal`)
    else this.#add('refused', 'no rule names this principal, and the directory is unreadable')
    for (const { decidedBy, scopes } of rules.outOfScope.filter(rule => rules.matchesRule(rule, this.#canonical))) {
      const { scope = 'not set' } = config.listen
      this.#add('note', `rule ${decidedBy.rule} names it for ${scopes?.join(', ')}; listen.scope is ${scope}`)
    }
    const candidates = [...this.#listRules(), ...(await this.#listDirectoryUsers())]
    // A rule for another scope that names this principal is not a near miss.
    const others = candidates.filter(({ matches }) => !matches(this.#canonical))
    const miss = findNearestMiss(principal, others)
    if (miss !== undefined) this.#add('nearest miss', miss)
  }

  #listRules(): Candidate[] {
    const { rules } = this.#options.policy
    return [...rules.all, ...rules.outOfScope].map(rule => ({
      label: `rule ${rule.decidedBy.rule}`,
      description: rule.description,
      arn: rule.arn,
      matches: canonical => rules.matchesRule(rule, canonical),
    }))
  }

  async #listDirectoryUsers(): Promise<Candidate[]> {
    const { config, admin } = this.#options
    if (!config.directory.enabled || !admin || !this.#isComplete) return []
    try {
      const documents = await createExternalUsers(command => admin.runCommand(command)).readAll()
      this.#noteMalformedNames(documents)
      return [...parseDirectoryUsers(documents).byPrincipal].map(([arn, match]) => {
        const description =
          isProblem(match) || !('directoryUser' in match.decidedBy) ? arn : match.decidedBy.directoryUser
        return { label: 'a user of $external', description, arn, matches: canonical => canonical === arn }
      })
    } catch (thrown) {
      this.#addUnknown('directory', `cannot be read: ${describeReadFailure(thrown)}`)
      return []
    }
  }

  /** Malformed names that may have been meant as this principal. Those that contain its name come first. */
  #noteMalformedNames(documents: readonly Document[]): void {
    const { name } = this.#options.principal
    const malformed = documents
      .map(({ user }) => String(user))
      .filter(user => describeMalformedName(user) !== undefined)
      .sort((one, other) => Number(mentions(other, name)) - Number(mentions(one, name)))
      .map(user => ({ user, db: '$external' }))
    const { warnings } = parseDirectoryUsers(malformed, { maxWarnings: MAX_MALFORMED_NAMES })
    for (const warning of warnings) this.#add('note', warning)
  }

  /** Checks the deny list as far as an ARN allows. Denials by id and by access key need a login. */
  #explainDenial(): void {
    const { config, policy, principal, now } = this.#options
    const { adminFile } = config.deny
    const adminDenials = adminFile === undefined ? [] : openAdminDenials(adminFile, () => now).all()
    const all = [...policy.denials, ...adminDenials]
    const kind = principal.kind === 'role' ? 'assumed-role' : principal.kind
    const subject = { ...principal, kind, canonical: this.#canonical, principalId: '' } as const
    const denial = createDenyList(all).find(subject, '', now)
    this.#isDenied = denial !== undefined
    if (denial) return void this.#add('denied', `by ${formatDenial(denial)}${denial.why ? `: ${denial.why}` : ''}`)
    const others = all.filter(({ kind }) => kind === 'principalId' || kind === 'accessKey').length
    if (others > 0) this.#add('denied', `not by its ARN; ${others} denials by id or access key were not checked`)
  }
}

const mentions = (user: string, name: string): boolean => user.toLowerCase().includes(name.toLowerCase())
