/** What becomes of a principal: which rule or entry decides, what it gives, what it asks; or what comes nearest. */
import type { Document } from 'bson'
import type { LoadedConfig } from '../app/policy.js'
import type { Config } from '../config/load.js'
import { Fault } from '../errors.js'
import { type Arn, canonicalizeArn, parseArn } from '../identity/arn.js'
import { openAdminDenials } from '../revocation/adminDenials.js'
import { createDenyList, type Denial, formatDenial } from '../revocation/denials.js'
import { type AdminClient, createAdminClient as administrator } from '../upstream/admin.js'
import { assertOk } from '../upstream/reply.js'
import { parseDirectoryUsers } from '../users/entries.js'
import { type DatabaseUser, isExpired, type Match } from '../users/match.js'
import { type Candidate, findNearestMiss } from '../users/nearestMiss.js'
import { formatNetwork } from '../users/networks.js'
import { openPins } from '../users/pins.js'
import { formatRole } from '../users/roles.js'
import type { Rule, Rules } from '../users/rules.js'
import { createExternalUsers, describeReadFailure } from '../users/systemUsers.js'

/** `known` is false where something could not be asked, so that the lines may not be the whole answer. */
export type Explanation = { isComplete: boolean; lines: readonly string[] }

/**
 * Explains a principal, given by any of its ARNs; `now` is in milliseconds since 1970.
 * Throws `usage` for what is no ARN of one, and `config/invalid`.
 */
export async function explain({ config, policy }: LoadedConfig, text: string, now: number): Promise<Explanation> {
  const principal = parseArn(text)
  if (!principal) throw new Fault('usage', `${JSON.stringify(text.slice(0, 200))} is not the ARN of a principal`)
  const { rules, denials: fileDenials } = policy
  const admin = config.upstream.admin && administrator(config.upstream.admin)
  const told = new Told()
  told.say('principal', canonicalizeArn(principal))
  try {
    const match =
      rules.match({ canonical: canonicalizeArn(principal) }) ?? (await entryOf(principal, config, admin, told))
    if (match instanceof Fault) told.say('refused', `${match.message}: ${sentenceOf(match)}`)
    else if (match) await tellMatch(match, principal, config, admin, now, told)
    else await tellMiss(principal, config, rules, admin, told)
  } finally {
    await admin?.close()
  }
  const kept = config.deny.adminFile === undefined ? [] : openAdminDenials(config.deny.adminFile, () => now).all()
  for (const denial of denialsOf(principal, [...fileDenials, ...kept], now)) told.say('denied', denial)
  return told
}

/** Lines of a name and a text, one below the other. */
class Told {
  readonly lines: string[] = []
  isComplete = true
  say(name: string, text: string): void {
    this.lines.push(`${name.padEnd(16)}${text}`)
  }
  unknown(name: string, text: string): void {
    this.isComplete = false
    this.say(name, text)
  }
}

/** The entry of the directory, or the fault that it gives; undefined where there is none or nobody may be asked. */
async function entryOf(principal: Arn, { directory }: Config, admin: AdminClient | undefined, told: Told) {
  if (!directory.enabled || !admin) return undefined
  try {
    const documents = await createExternalUsers(command => admin.runCommand(command)).readPrincipal(
      canonicalizeArn(principal),
    )
    const { byPrincipal: known, warnings: complaints } = parseDirectoryUsers(documents)
    const found = known.get(canonicalizeArn(principal))
    // What refuses it is told as that.
    if (!(found instanceof Fault)) for (const complaint of complaints) told.say('note', complaint)
    return found
  } catch (thrown) {
    told.unknown('directory', `cannot be read: ${describeReadFailure(thrown)}`)
    return undefined
  }
}

async function tellMatch(
  match: Match,
  principal: Arn,
  config: Config,
  admin: AdminClient | undefined,
  now: number,
  told: Told,
): Promise<void> {
  const { decidedBy, grant, clientSource, deleteAfterDate, principalId, maxAgeMS } = match
  if ('rule' in decidedBy) told.say('decided by', `rule ${decidedBy.rule} of users, ${(match as Rule).description}`)
  else told.say('decided by', `the user ${decidedBy.directoryUser} of $external`)
  if ('user' in grant) {
    told.say('database user', `${grant.user.name}@${grant.user.db}`)
    await tellUser(grant.user, admin, told)
  } else {
    told.say('database user', `${canonicalizeArn(principal)}@${config.provision.database}, which the proxy keeps`)
    told.say('roles', grant.roles.map(formatRole).join(', ') || 'none')
  }
  for (const networks of clientSource ?? []) {
    told.say('from', networks.map(formatNetwork).join(', ') || 'nowhere: its restrictions cannot be met here')
  }
  if (deleteAfterDate) {
    const over = isExpired(match, now) ? ', which has passed: it is refused' : ''
    told.say('until', `${deleteAfterDate.toISOString()}${over}`)
  }
  if (principalId === 'firstUse') {
    const pinned =
      config.pins.file === undefined ? undefined : openPins(config.pins.file).get(canonicalizeArn(principal))
    told.say(
      'id',
      pinned === undefined ? 'the first that is seen; none was yet' : `${pinned}, pinned by its first login`,
    )
  } else if (principalId !== undefined) told.say('id', `${principalId} and no other`)
  if (maxAgeMS !== undefined) told.say('login lasts', lasting(maxAgeMS))
}

/** As settings write it. */
function lasting(ms: number): string {
  const [unit, one] = (
    [
      ['h', 3_600_000],
      ['m', 60_000],
    ] as const
  ).find(([, one]) => ms % one === 0) ?? ['s', 1000]
  return `${ms / one}${unit}`
}

/** Roles and restrictions of a database user are MongoDB's to know. */
async function tellUser({ name, db }: DatabaseUser, admin: AdminClient | undefined, told: Told): Promise<void> {
  if (!admin) return told.say('roles', 'not known without upstream.admin')
  try {
    const command = { usersInfo: { user: name, db }, showAuthenticationRestrictions: true }
    const reply = assertOk(await admin.runCommand(command), 'upstream.admin')
    const [user] = reply.users as Document[]
    if (!user) return told.say('roles', 'none: there is no such user')
    told.say('roles', (user.roles as Document[]).map(({ role, db }) => `${role}@${db}`).join(', ') || 'none')
    const { authenticationRestrictions: restrictions = [] } = user
    if (restrictions.length > 0) {
      const text = JSON.stringify(restrictions)
      told.say('note', `MongoDB restricts it, by the address of the proxy and not of the client: ${text}`)
    }
  } catch (thrown) {
    const { code } = Fault.from(thrown).facts
    if (Number(code) !== 13) told.unknown('roles', `cannot be asked for: ${describeReadFailure(thrown)}`)
    else told.say('roles', `not known: the user of upstream.admin lacks viewUser on ${db}`)
  }
}

async function tellMiss(
  principal: Arn,
  config: Config,
  rules: Rules,
  admin: AdminClient | undefined,
  told: Told,
): Promise<void> {
  const { enabled } = config.directory
  if (told.isComplete) told.say('refused', `no rule${enabled ? ' and no user of $external' : ''} names this principal`)
  else told.say('refused', 'no rule names this principal, and the directory cannot say')
  for (const rule of rules.outOfScope.filter(rule => rules.matchesRule(rule, canonicalizeArn(principal)))) {
    const { scope = 'not set' } = config.listen
    told.say('note', `rule ${rule.decidedBy.rule} names it, for ${rule.scopes?.join(', ')}; listen.scope is ${scope}`)
  }
  const candidates: Candidate[] = [...rules.all, ...rules.outOfScope].map(rule => ({
    label: `rule ${rule.decidedBy.rule}`,
    description: rule.description,
    arn: rule.arn,
    matches: said => rules.matchesRule(rule, said),
  }))
  if (enabled && admin && told.isComplete) candidates.push(...(await candidatesOf(admin, told)))
  // Who names it already, for another scope, is no near miss.
  const said = canonicalizeArn(principal)
  const miss = findNearestMiss(
    principal,
    candidates.filter(({ matches }) => !matches(said)),
  )
  if (miss !== undefined) told.say('nearest', miss)
}

async function candidatesOf(admin: AdminClient, told: Told): Promise<Candidate[]> {
  try {
    const { byPrincipal: known } = parseDirectoryUsers(
      await createExternalUsers(command => admin.runCommand(command)).readAll(),
    )
    return [...known].map(([arn, one]) => {
      const description =
        one instanceof Fault || !('directoryUser' in one.decidedBy) ? arn : one.decidedBy.directoryUser
      return { label: 'a user of $external', description, arn, matches: said => said === arn }
    })
  } catch (thrown) {
    told.unknown('directory', `cannot be read: ${describeReadFailure(thrown)}`)
    return []
  }
}

function sentenceOf({ facts }: Fault): string {
  return Array.isArray(facts.entries) ? `drop all but one of ${facts.entries.join(', ')}` : String(facts.why)
}

/** By what a principal is denied, as far as its ARN tells: ids and keys are known at a login alone. */
function denialsOf(principal: Arn, all: readonly Denial[], now: number): string[] {
  const list = createDenyList(all)
  const kind = principal.kind === 'role' ? 'assumed-role' : principal.kind
  const identity = { ...principal, kind, canonical: canonicalizeArn(principal), principalId: '' } as const
  const found = list.find(identity, '', now)
  const others = all.filter(({ kind: of }) => of === 'principalId' || of === 'accessKey').length
  if (found) return [`by ${formatDenial(found)}${found.why ? `: ${found.why}` : ''}`]
  return others > 0 ? [`not by its ARN; ${others} denials are of ids and keys`] : []
}
