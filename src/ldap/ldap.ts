/**
 * Whether LDAP authorization is on at the upstream: what it is asked, and what its answers mean (R27).
 *
 * MongoDB holds the query template in its start options; Percona Server has it as a parameter too, which can be set
 * while it runs. So both are asked, and one of them suffices for "on" while "off" needs both, or an edition without LDAP.
 */
import type { Document } from 'bson'

/** `why` says what it was concluded from, in words for the log and the client. */
export type LdapVerdict = { state: 'on' | 'off' | 'unknown'; why: string }

/** Replies as they came, `ok: 0` included; undefined where the question was not put. */
export type LdapReplies = Record<keyof typeof QUESTIONS, Document | undefined>

/** Runs a command on the admin database and gives the reply, `ok: 0` or not. Throws where the upstream is away. */
export type RunCommand = (command: Document) => Promise<Document>

const TEMPLATES = ['ldapAuthzQueryTemplate', 'ldapQueryTemplate'] as const

/** `authenticationMechanisms` exists everywhere, so that getParameter never fails for naming unknown parameters alone. */
const PARAMETERS = ['authenticationMechanisms', 'ldapServers', ...TEMPLATES, 'ldapUserToDNMapping']

const QUESTIONS = {
  buildInfo: { buildInfo: 1 },
  options: { getCmdLineOpts: 1 },
  parameters: { getParameter: 1, ...Object.fromEntries(PARAMETERS.map(name => [name, 1])) },
}

/** Puts every question, one after the other, since a connection takes one command at a time. */
export async function queryLdapSettings(run: RunCommand): Promise<LdapReplies> {
  const buildInfo = await run(QUESTIONS.buildInfo)
  const options = await run(QUESTIONS.options)
  return { buildInfo, options, parameters: await run(QUESTIONS.parameters) }
}

export function evaluateLdap({ buildInfo, options, parameters }: LdapReplies): LdapVerdict {
  const parsed = ok(options) ? options?.parsed : undefined
  if (isSet(parsed?.security?.ldap?.authz?.queryTemplate)) {
    return { state: 'on', why: 'security.ldap.authz.queryTemplate is set there' }
  }
  const parameter = ok(parameters) ? TEMPLATES.find(name => isSet(parameters?.[name])) : undefined
  if (parameter) return { state: 'on', why: `the parameter ${parameter} is set there` }
  const excluded = ok(buildInfo) ? edition(buildInfo ?? {}) : undefined
  if (excluded) return { state: 'off', why: excluded }
  if (parsed?.sharding?.configDB !== undefined) {
    return { state: 'unknown', why: 'a mongos does not hold the query template' }
  }
  if (isDocument(parsed) && ok(parameters)) return { state: 'off', why: 'no query template is set there' }
  const failed = isDocument(parsed) ? problem('getParameter', parameters) : problem('getCmdLineOpts', options)
  return { state: 'unknown', why: failed }
}

/** Why this edition cannot have LDAP authorization; undefined where it may. */
function edition(buildInfo: Document): string | undefined {
  if (Object.keys(buildInfo).some(name => name.startsWith('ferretdb'))) return 'FerretDB has no LDAP authorization'
  // A server that lists no modules is one we know nothing about.
  const { modules, psmdbVersion } = buildInfo
  if (!Array.isArray(modules) || modules.includes('enterprise') || psmdbVersion !== undefined) return undefined
  return 'this edition of MongoDB has no LDAP authorization'
}

/** An empty template is how LDAP is switched off at run time. What is no text at all is no sign of "off". */
function isSet(template: unknown): boolean {
  return template !== undefined && template !== null && template !== ''
}

function ok(reply: Document | undefined): boolean {
  return Number(reply?.ok) === 1
}

function isDocument(value: unknown): value is Document {
  return typeof value === 'object' && value !== null
}

function problem(name: string, reply: Document | undefined): string {
  if (!reply) return `${name} was not asked`
  if (ok(reply)) return `${name} was answered in an unknown form`
  return `${name} was refused with code ${Number(reply.code)}`
}
