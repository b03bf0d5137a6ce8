/**
 * The secrets, keys and certificates of a configuration, and which of them differ in another one, as events of the audit
 * trail. Neither a secret nor anything that derives from it is shown; a certificate is public.
 */
import { X509Certificate } from 'node:crypto'
import type { AuditEvent } from '../audit/events.js'
import { allSettings } from '../config/settings.js'
import { Secret } from '../log.js'
import type { Rule } from '../users/rules.js'
import { AFTER_RESTART, pairRules, toActor } from './configAudit.js'
import type { LoadedConfig } from './policy.js'

export type SecretEvent = AuditEvent<'secret'>

/** `file`: the path, if a file holds the secret and its path may be shown. */
type HeldSecret = { setting: string; values: readonly Secret[]; file: string | undefined; fingerprint?: string }

const liveSettings = new Set<string>(allSettings.filter(({ definition }) => definition.live).map(({ path }) => path))

/** The events of a start: every secret that was read. */
export function describeLoadedSecrets(loaded: LoadedConfig): SecretEvent[] {
  const { all, outOfScope } = loaded.policy.rules
  return [
    ...[...listSecrets(loaded).values()].map(secret => describeSecret('loaded', secret, loaded)),
    ...[...all, ...outOfScope].flatMap(rule => (passwordOf(rule) ? [describePassword('loaded', rule, loaded)] : [])),
  ]
}

/** The events of a reload that was applied: every secret that differs. */
export function describeSecretChanges(before: LoadedConfig, after: LoadedConfig): SecretEvent[] {
  const [old, next] = [listSecrets(before), listSecrets(after)]
  const events = [...new Set([...old.keys(), ...next.keys()])].flatMap(setting => {
    const [was, is] = [old.get(setting), next.get(setting)]
    const secret = is ?? was
    const change = findChange(was?.values, is?.values)
    if (!secret || !change) return []
    const event = describeSecret(change, secret, after)
    return [liveSettings.has(setting) ? event : { ...event, reason: AFTER_RESTART }]
  })
  const passwords = pairRules(before.policy.rules, after.policy.rules).flatMap(([was, is]) => {
    const rule = is ?? was
    const change = findChange(was && passwordOf(was), is && passwordOf(is))
    return rule && change ? [describePassword(change, rule, after)] : []
  })
  return [...events, ...passwords]
}

function findChange(
  was: readonly Secret[] | undefined,
  is: readonly Secret[] | undefined,
): 'added' | 'changed' | 'removed' | undefined {
  if (!was || !is) return is ? 'added' : was && 'removed'
  const isSame = was.length === is.length && was.every((secret, index) => is[index]?.equals(secret))
  return isSame ? undefined : 'changed'
}

function listSecrets({ config, source }: LoadedConfig): Map<string, HeldSecret> {
  const { tls, upstream, sts, admin, audit, provision } = config
  const rows: [setting: string, value: Secret | undefined, fileSetting?: string][] = [
    ['tls.certFile', tls && new Secret(tls.cert)],
    ['tls.keyFile', tls?.key],
    ['upstream.uri', upstream.uri, 'upstream.uriFile'],
    ['upstream.admin.uri', upstream.admin, 'upstream.admin.uriFile'],
    ['sts.proxyCredentialsFile', sts.proxyCredentials],
    ['admin.tokenFile', admin.token],
    ['audit.hashKeyFile', audit.hashKey],
  ]
  const secrets = rows.map(([setting, value, fileSetting = setting]): HeldSecret => {
    const path = source.given.get(fileSetting)?.text
    return { setting, values: value ? [value] : [], file: path?.startsWith('/') ? path : undefined }
  })
  const path = source.given.get('provision.secretFile')?.text
  const file = path?.startsWith('/') ? path : undefined
  secrets.push({ setting: 'provision.secretFile', values: provision.secrets, file })
  const held = secrets.filter(({ values }) => values.length > 0)
  return new Map(held.map(secret => [secret.setting, withFingerprint(secret, tls?.cert)]))
}

function withFingerprint(secret: HeldSecret, certificate: string | undefined): HeldSecret {
  if (secret.setting !== 'tls.certFile' || certificate === undefined) return secret
  return { ...secret, fingerprint: new X509Certificate(certificate).fingerprint256 }
}

const passwordOf = ({ grant }: Rule): Secret[] | undefined => ('user' in grant ? [grant.password] : undefined)

function describeSecret(
  change: SecretEvent['change'],
  { setting, file, fingerprint }: HeldSecret,
  { source }: LoadedConfig,
): SecretEvent {
  return {
    actor: toActor(file ?? source.file),
    change,
    setting,
    ...(file !== undefined && { file }),
    ...(fingerprint !== undefined && { fingerprint }),
  }
}

/** The password of the database user of a rule. */
function describePassword(change: SecretEvent['change'], { arn }: Rule, { source }: LoadedConfig): SecretEvent {
  return { actor: toActor(source.file), change, setting: 'users', arn }
}
