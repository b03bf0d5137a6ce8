/** Settings without effect because of another setting, and files that two settings name. Reads no file. */
import { resolve } from 'node:path'
import { isLoopback } from './hosts.js'
import type { Problem } from './problem.js'
import { allSettings, type Settings } from './settings.js'

type IsGiven = (path: string) => boolean

const hasAdminInterface = ({ admin }: Settings) => admin.port !== 'off'
const hasToken = ({ admin }: Settings) => admin.tokenFile !== undefined || (admin.tokens ?? []).length > 0
const hasWriteToken = ({ admin }: Settings) =>
  admin.port !== 'off' && (admin.tokenFile !== undefined || (admin.tokens ?? []).some(({ may }) => may === 'write'))
const provisions = ({ provision }: Settings) => provision.secretFile !== undefined

/** Settings, what they need, and why they have no effect without it. Settings that were not given are skipped. */
const NEEDS: readonly { paths: readonly string[]; needs: (settings: Settings) => boolean; why: string }[] = [
  {
    paths: ['admin.host', 'admin.tokenFile', 'admin.tokens', 'admin.hosts'],
    needs: hasAdminInterface,
    why: 'admin.port is off',
  },
  {
    paths: ['admin.hosts'],
    needs: settings => !hasAdminInterface(settings) || hasToken(settings) || isLoopback(settings.admin.host),
    why: 'neither admin.tokenFile nor admin.tokens is set, so only health and metrics can be read',
  },
  {
    paths: ['directory.refresh'],
    needs: ({ directory }) => directory.enabled !== false,
    why: 'directory.enabled is false',
  },
  {
    paths: ['provision.database', 'provision.fleet', 'provision.period', 'provision.clientSource'],
    needs: provisions,
    why: 'provision.secretFile is not set, so the proxy creates no user',
  },
]

/** Sentences about the settings that were given and have no effect. */
export function listIneffectiveSettings(settings: Settings, isGiven: IsGiven): string[] {
  const warnings = NEEDS.flatMap(({ paths, needs, why }) =>
    needs(settings) ? [] : paths.filter(isGiven).map(path => `${path}: has no effect, because ${why}`),
  )
  if (isGiven('deny.adminFile') && !hasWriteToken(settings)) {
    const why = hasAdminInterface(settings) ? 'no token of the admin interface may write' : 'admin.port is off'
    warnings.push(`deny.adminFile: its denials count, but none can be added or removed, because ${why}`)
  }
  return warnings
}

/** The files that the proxy writes. */
const OWN_FILES = ['pins.file', 'deny.adminFile', 'audit.to']
const filePaths = allSettings.map(({ path }) => path).filter(path => /file$/i.test(path) || path === 'audit.to')

/** A file that the proxy writes belongs to one setting: writing it would destroy what another one reads. */
export function findSharedFiles(settings: Settings, configFile: string | undefined): Problem[] {
  const named = [
    ...(configFile === undefined ? [] : [{ path: 'the configuration', file: configFile }]),
    ...filePaths.map(path => ({ path, file: valueAt(settings, path) })),
    ...(settings.users ?? []).map(({ passwordFile }, index) => ({
      path: `users[${index}].passwordFile`,
      file: passwordFile,
    })),
    ...(settings.admin.tokens ?? []).map(({ file }, index) => ({ path: `admin.tokens[${index}].file`, file })),
  ]
  return OWN_FILES.flatMap((path, index) => {
    const file = valueAt(settings, path)
    if (file === undefined) return []
    const other = named.find(
      other =>
        other.file !== undefined &&
        resolve(other.file) === resolve(file) &&
        !OWN_FILES.slice(index).includes(other.path),
    )
    return other
      ? [{ path, message: `is also ${other.path}, and the proxy would overwrite it; use a separate file` }]
      : []
  })
}

function valueAt(settings: Settings, path: string): string | undefined {
  const value = path.split('.').reduce<unknown>((group, key) => Reflect.get(Object(group), key), settings)
  return typeof value === 'string' ? value : undefined
}
