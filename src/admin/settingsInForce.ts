/** The settings in force over HTTP, without secrets. */
import { z } from 'zod'
import type { Config } from '../config/load.js'
import { allSettings } from '../config/settings.js'
import { jsonResponse } from './http.js'
import type { Routes } from './routes.js'

const settingsSchema = z.strictObject({
  items: z.array(
    z.strictObject({
      setting: z.string(),
      value: z
        .unknown()
        .describe('Durations in milliseconds; null if it is not set; `[secret]` if it may not be shown.'),
    }),
  ),
})

/** Shown by /rules, and a group whose parts are settings of their own. */
const HIDDEN = ['users', 'tls']

export function createSettingsRoutes(config: () => Config): Routes {
  return {
    '/settings': {
      GET: {
        access: 'read',
        summary: 'Settings in force, without secrets. A setting that waits for a restart has its old value.',
        response: settingsSchema,
        run: () => jsonResponse(200, { items: listSettings(config()) }),
      },
    },
  }
}

/** Secrets in a configuration are of type `Secret`, whose JSON is `[secret]`. */
function listSettings(config: Config): { setting: string; value: unknown }[] {
  return allSettings
    .filter(({ path }) => !HIDDEN.includes(path))
    .map(({ path }) => ({ setting: path, value: valueAt(config, path) ?? null }))
}

function valueAt(config: Config, path: string): unknown {
  return path.split('.').reduce<unknown>((group, key) => {
    const own = Object(group)
    return Object.hasOwn(own, key) ? own[key] : undefined
  }, config)
}
