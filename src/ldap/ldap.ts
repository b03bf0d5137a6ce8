/**
 * Whether LDAP authorization is on at the upstream: the commands that ask for it, and the meaning of their replies.
 *
 * MongoDB has the LDAP query template in its start options. Percona Server also has it as a parameter that can change at
 * run time. The proxy therefore reads both: one of them suffices for "on", while "off" needs both, or an edition without
 * LDAP.
 *
 * https://www.mongodb.com/docs/manual/core/security-ldap-external/
 */
import type { Document } from 'bson'
import { isFerretdb } from '../upstream/edition.js'

/** `why` describes the basis of the state, for the log and for the client. */
export type LdapVerdict = { state: 'on' | 'off' | 'unknown'; why: string }

/** Replies as received, including those with `ok: 0`; undefined if the command was not sent. */
export type LdapReplies = Record<keyof typeof COMMANDS, Document | undefined>

/** Runs a command on the database admin and returns the reply, `ok: 0` or not. Rejects if the upstream is unreachable. */
export type RunCommand = (command: Document) => Promise<Document>

const TEMPLATE_PARAMETERS = ['ldapAuthzQueryTemplate', 'ldapQueryTemplate'] as const

/** `authenticationMechanisms` exists on every server: getParameter fails if it knows none of the parameters. */
const PARAMETERS = ['authenticationMechanisms', 'ldapServers', ...TEMPLATE_PARAMETERS, 'ldapUserToDNMapping']

const COMMANDS = {
  buildInfo: { buildInfo: 1 },
  options: { getCmdLineOpts: 1 },
  parameters: { getParameter: 1, ...Object.fromEntries(PARAMETERS.map(name => [name, 1])) },
}

/** Sends the commands one after another, since a connection takes one command at a time. */
export async function queryLdapSettings(runCommand: RunCommand): Promise<LdapReplies> {
  const buildInfo = await runCommand(COMMANDS.buildInfo)
  const options = await runCommand(COMMANDS.options)
  return { buildInfo, options, parameters: await runCommand(COMMANDS.parameters) }
}

export function evaluateLdap({ buildInfo, options, parameters }: LdapReplies): LdapVerdict {
  const startOptions = isOk(options) ? options?.parsed : undefined
  if (isTemplateSet(startOptions?.security?.ldap?.authz?.queryTemplate)) {
    return { state: 'on', why: 'security.ldap.authz.queryTemplate is set at the upstream' }
  }
  const parameter = isOk(parameters) ? TEMPLATE_PARAMETERS.find(name => isTemplateSet(parameters?.[name])) : undefined
  if (parameter) return { state: 'on', why: `the parameter ${parameter} is set at the upstream` }
  const exclusion = isOk(buildInfo) ? describeEditionWithoutLdap(buildInfo ?? {}) : undefined
  if (exclusion) return { state: 'off', why: exclusion }
  if (startOptions?.sharding?.configDB !== undefined) {
    return { state: 'unknown', why: 'a mongos does not have the query template' }
  }
  if (isDocument(startOptions) && isOk(parameters)) {
    return { state: 'off', why: 'no query template is set at the upstream' }
  }
  const why = isDocument(startOptions)
    ? describeFailure('getParameter', parameters)
    : describeFailure('getCmdLineOpts', options)
  return { state: 'unknown', why }
}

/** Why this edition cannot have LDAP authorization; undefined if it can. */
function describeEditionWithoutLdap(buildInfo: Document): string | undefined {
  if (isFerretdb(buildInfo)) return 'FerretDB has no LDAP authorization'
  // A server without a list of modules is unknown, so it may have LDAP.
  const { modules, psmdbVersion } = buildInfo
  if (!Array.isArray(modules) || modules.includes('enterprise') || psmdbVersion !== undefined) return undefined
  return 'this edition of MongoDB has no LDAP authorization'
}

/** An empty template turns LDAP off at run time. A value that is not text is no evidence of "off". */
function isTemplateSet(template: unknown): boolean {
  return template !== undefined && template !== null && template !== ''
}

function isOk(reply: Document | undefined): boolean {
  return Number(reply?.ok) === 1
}

function isDocument(value: unknown): value is Document {
  return typeof value === 'object' && value !== null
}

function describeFailure(command: string, reply: Document | undefined): string {
  if (!reply) return `${command} was not sent`
  if (isOk(reply)) return `the reply to ${command} has an unknown form`
  return `${command} was refused with code ${Number(reply.code)}`
}
