/** What a configuration says about users and upstream, beyond the form of its settings. */
import { isWildcard } from '../config/hosts.js'
import type { Config, RuleOrigin } from '../config/load.js'
import { type ReadFile, readFile } from '../config/reading.js'
import { Fault } from '../errors.js'
import type { Denial } from '../revocation/denials.js'
import { parseDenyFile } from '../revocation/denyFile.js'
import { parseUpstreamUri, type UpstreamConfig } from '../upstream/target.js'
import { parseNetwork } from '../users/networks.js'
import { compileRules, type Rules } from '../users/rules.js'

/** `single`: the one address is what clients get, whatever it is; else the primary is followed. */
export type Policy = {
  rules: Rules
  /** What the deny file says. */
  denied: readonly Denial[]
  upstream?: UpstreamConfig
  single: boolean
  problems: readonly string[]
}

/** What a configuration says about users and upstream, or every problem in it that only they can see, with its place. */
export function compilePolicy(config: Config, read: ReadFile = readFile, places: readonly RuleOrigin[] = []): Policy {
  const { users, upstream, listen, deny } = config
  const { rules, problems: ofRules } = compileRules(users, listen, places)
  const { all: denied, problems: ofDenials } =
    deny.text === undefined ? { all: [], problems: [] } : parseDenyFile(deny.text, deny.file ?? '')
  const problems = [...ofRules, ...missing(config, rules), ...ofDenials.map(problem => `deny.file: ${problem}`)]
  const { topology, uri } = upstream
  if (uri.reveal() === '') return { rules, denied, single: false, problems }
  try {
    const target = parseUpstreamUri(uri, path => read(path).bytes)
    const { directConnection: direct, seeds, srv, connectionOptions: template } = target
    const single = topology === undefined ? direct : topology === 'single'
    const several = srv !== undefined || seeds.length > 1
    const found = [...problems]
    if (direct && !single) found.push('upstream.topology: primary contradicts directConnection=true in upstream.uri')
    if (single && several) found.push('upstream.topology: single is for one address in upstream.uri')
    if (!single && (several || template.replicaSet) && isWildcard(listen.host) && !listen.advertise) {
      found.push(
        `listen.advertise: needed in front of a replica set, since ${listen.host} is no address for clients: give host:port by which they reach the proxy`,
      )
    }
    return { rules, denied, upstream: target, single, problems: found }
  } catch (thrown) {
    const { facts, message } = Fault.from(thrown)
    const ofURI: unknown[] = Array.isArray(facts.problems) ? facts.problems : [message]
    return {
      rules,
      denied,
      single: false,
      problems: [...problems, ...ofURI.map(problem => `upstream.uri: ${problem}`)],
    }
  }
}

/** What rules and directory need from other settings. */
function missing({ pins, directory, upstream, provision, listen, admin, deny }: Config, { all }: Rules): string[] {
  const pinned = all.find(({ principalId }) => principalId === 'firstUse')
  const found: string[] = []
  if (pinned && pins.file === undefined) {
    found.push(
      `pins.file: needed for principalId firstUse of rule ${pinned.decidedBy.rule}, to be remembered over a restart`,
    )
  }
  if (directory.enabled && !upstream.admin) {
    found.push('upstream.admin: needed for directory.enabled: give a user that may read admin.system.users')
  }
  const granting = all.find(({ grant }) => 'roles' in grant)
  const why = granting ? `the roles of rule ${granting.decidedBy.rule}` : directory.enabled && 'directory.enabled'
  if (why && provision.secrets.length === 0) found.push(`provision.secretFile: needed for ${why}`)
  if (granting && !upstream.admin) found.push(`upstream.admin: needed for ${why}: give a user that may keep others`)
  if (admin.port !== 0 && admin.port === listen.port && (admin.host === listen.host || isWildcard(listen.host))) {
    found.push(`admin.port: ${admin.port} is listen.port as well; give another one`)
  }
  if (deny.file !== undefined && deny.file === deny.adminFile) {
    found.push('deny.adminFile: is deny.file as well, which is yours to write; give the proxy a file of its own')
  }
  for (const network of provision.clientSource ?? []) {
    if (!parseNetwork(network))
      found.push(`provision.clientSource: "${network.slice(0, 80)}" is no network like 10.0.0.0/8`)
  }
  return found
}

/** The same where nothing is wrong. Throws `config/invalid` with every problem. */
export function requirePolicy(config: Config): Policy & { upstream: UpstreamConfig } {
  const { upstream, problems, ...rest } = compilePolicy(config)
  if (!upstream || problems.length > 0) throw new Fault('config/invalid', problems.join('\n'), { problems })
  return { ...rest, upstream, problems }
}
