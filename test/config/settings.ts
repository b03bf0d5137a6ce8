import t from 'tap'
import { allSettings } from '../../src/config/settings.js'

t.test('every setting is described in one paragraph that ends with a period', async t => {
  for (const { path, definition } of allSettings) t.match(definition.about, /^[A-Z/][^\n|]+\.$/, path)
})

t.test('every default is valid for its own schema', async t => {
  for (const { path, definition } of allSettings) {
    if (definition.fallback !== undefined) t.ok(definition.schema.safeParse(definition.fallback).success, path)
  }
})

t.test('paths, flags and variables are unique', async t => {
  for (const name of ['path', 'flag', 'variable'] as const) {
    t.equal(new Set(allSettings.map(setting => setting[name])).size, allSettings.length, name)
  }
})

t.test('the path gives the flag and the variable', async t => {
  const settingAt = (path: string) => allSettings.find(setting => setting.path === path)
  t.match(settingAt('sts.quota'), { flag: '--sts-quota', variable: 'MONGO_IAM_PROXY_STS_QUOTA' })
  t.match(settingAt('tls.certFile'), { flag: '--tls-cert-file', variable: 'MONGO_IAM_PROXY_TLS_CERT_FILE' })
  t.match(settingAt('tls'), { flag: '--tls', variable: 'MONGO_IAM_PROXY_TLS', keys: ['tls', 'self'] })
  t.match(settingAt('upstream.admin.uriFile'), { flag: '--upstream-admin-uri-file' })
})
