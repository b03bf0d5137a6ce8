/**
 * Describes the spans of a login after it has ended, from the times in its record.
 *
 *     login (or reauthentication)
 *     ├─ queue          the wait for a permit, before each call
 *     ├─ sts            each call
 *     └─ upstream       the wait for a primary, the dial and the login there
 *        └─ provisioning
 */
import type { AuditedClient, LoginKind } from '../client/audit.js'
import type { ClientInfo } from '../client/handshake.js'
import type { LoginRecord, LoginStage, LoginTimeline } from '../client/login.js'
import type { UpstreamEndpoint } from '../client/upstreamSession.js'
import type { Fault } from '../errors.js'
import { MAX_TEXT, truncate } from '../printable.js'
import { parseAddress } from '../upstream/address.js'

export type SpanAttributes = Readonly<Record<string, string | number | boolean>>

/** Times are milliseconds since 1970. `error`: why it failed. */
export type SpanDescription = {
  name: string
  kind: 'server' | 'client' | 'internal'
  startMS: number
  endMS: number
  attributes: SpanAttributes
  error?: string
  children: readonly SpanDescription[]
}

/** `connection`: its id in the audit trail. `fault`: of a login that was refused. */
export type TracedLogin = {
  client: AuditedClient
  connection: string
  record: LoginRecord
  kind: LoginKind
  info?: ClientInfo | undefined
  upstream?: UpstreamEndpoint | undefined
  fault?: Fault | undefined
}

/** The names of our own attributes begin with this; the others are those of OpenTelemetry. */
const OWN = 'mongo_iam_proxy.'

/** `toWallMS` converts the times of a timeline to milliseconds since 1970. */
export function describeLogin(
  login: TracedLogin,
  { startedAt, endedAt, stages }: LoginTimeline,
  toWallMS: (time: number) => number,
): SpanDescription {
  const provisioning = stages.filter(({ name }) => name === 'provisioning')
  const others = stages.filter(({ name }) => name !== 'provisioning')
  const describe = (stage: LoginStage, inner: readonly LoginStage[] = []): SpanDescription => ({
    name: stage.name,
    ...describeStage(stage.name, login),
    startMS: toWallMS(stage.startedAt),
    endMS: toWallMS(stage.endedAt),
    children: inner.map(one => describe(one)),
  })
  return {
    name: login.kind === 'first' ? 'login' : 'reauthentication',
    kind: 'server',
    startMS: toWallMS(startedAt),
    endMS: toWallMS(endedAt),
    attributes: describeAttributes(login),
    ...(login.fault && { error: truncate(login.fault.message, MAX_TEXT) }),
    children: others.map(stage => describe(stage, stage.name === 'upstream' ? provisioning : [])),
  }
}

function describeStage(
  name: LoginStage['name'],
  { record, upstream }: TracedLogin,
): Pick<SpanDescription, 'kind' | 'attributes'> {
  if (name === 'sts') return { kind: 'client', attributes: omitUnknown({ 'server.address': record.sts?.host }) }
  if (name !== 'upstream') return { kind: 'internal', attributes: {} }
  const member = upstream && parseAddress(upstream.address)
  const attributes = omitUnknown({
    'server.address': member?.host,
    'server.port': member?.port,
    [`${OWN}upstream.local_port`]: upstream?.localPort,
    [`${OWN}upstream.connection_id`]: upstream?.connectionId,
  })
  return { kind: 'client', attributes }
}

function describeAttributes({ client, connection, record, info, fault }: TracedLogin): SpanAttributes {
  const { identity, sts, by } = record
  const { peer } = client
  const colon = peer.lastIndexOf(':')
  const application = info?.metadata?.application?.name
  return omitUnknown({
    'client.address': peer.slice(0, colon),
    'client.port': Number(peer.slice(colon + 1)),
    'error.type': fault?.kind,
    [`${OWN}outcome`]: fault ? 'refused' : 'success',
    [`${OWN}connection`]: connection,
    [`${OWN}cached`]: record.cached === true,
    [`${OWN}access_key_id`]: record.accessKeyId,
    [`${OWN}account`]: identity?.account,
    [`${OWN}arn`]: identity?.arn,
    [`${OWN}database_user`]: record.user,
    [`${OWN}rule`]: by && 'rule' in by ? by.rule : undefined,
    [`${OWN}directory_user`]: by && 'directoryUser' in by ? by.directoryUser : undefined,
    [`${OWN}sts.host`]: sts?.host,
    [`${OWN}sts.request_id`]: sts?.requestId,
    [`${OWN}app_name`]: typeof application === 'string' ? truncate(application, MAX_TEXT) : undefined,
  })
}

function omitUnknown(values: Record<string, string | number | boolean | null | undefined>): SpanAttributes {
  const known = Object.entries(values).filter(([, value]) => value !== undefined && value !== null)
  return Object.fromEntries(known) as SpanAttributes
}
