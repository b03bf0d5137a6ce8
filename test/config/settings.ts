import t from 'tap'
import { allSettings } from '../../src/config/settings.js'

t.test('every row has one sentence', async t => {
  for (const { path, definition } of allSettings) t.match(definition.about, /^[A-Z/][^\n|]+\.$/, path)
})

t.test('every default is read by the parser of its row', async t => {
  for (const { path, definition } of allSettings) {
    if (definition.fallback !== undefined) t.ok(definition.schema.safeParse(definition.fallback).success, path)
  }
})

t.test('paths, flags and variables are told apart', async t => {
  for (const name of ['path', 'flag', 'variable'] as const) {
    t.equal(new Set(allSettings.map(setting => setting[name])).size, allSettings.length, name)
  }
})

t.test('the path gives the names', async t => {
  const named = (path: string) => allSettings.find(setting => setting.path === path)
  t.match(named('sts.quota'), { flag: '--sts-quota', variable: 'MONGO_IAM_PROXY_STS_QUOTA' })
  t.match(named('tls.certFile'), { flag: '--tls-cert-file', variable: 'MONGO_IAM_PROXY_TLS_CERT_FILE' })
  t.match(named('tls'), { flag: '--tls', variable: 'MONGO_IAM_PROXY_TLS', keys: ['tls', 'self'] })
  t.match(named('upstream.admin.uriFile'), { flag: '--upstream-admin-uri-file' })
})
