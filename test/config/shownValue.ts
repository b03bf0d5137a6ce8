import t from 'tap'
import { allSettings } from '../../src/config/settings.js'
import { describeValue } from '../../src/config/shownValue.js'

const show = (path: string, value: unknown): string | undefined => {
  const setting = allSettings.find(setting => setting.path === path)
  return setting && describeValue(setting.definition, value)
}

t.test('numbers, durations, words of the proxy, addresses and absolute paths are shown', async t => {
  for (const [path, value, shown] of [
    ['listen.connections', 100, '100'],
    ['sts.share', 0.5, '0.5'],
    ['directory.refresh', '2s', '2s'],
    ['directory.enabled', true, 'true'],
    ['audit.onFailure', 'refuse', 'refuse'],
    ['audit.to', 'stderr', 'stderr'],
    ['provision.database', 'mongo_iam_proxy', 'mongo_iam_proxy'],
    ['tls', 'off', 'off'],
    ['listen.host', '::1', '::1'],
    ['listen.advertise', '[2001:db8::1]:27017', '[2001:db8::1]:27017'],
    ['listen.advertise', '10.0.0.1:27017', '10.0.0.1:27017'],
    ['provision.clientSource', ['10.0.0.0/8', '2001:db8::/32'], '10.0.0.0/8, 2001:db8::/32'],
    ['provision.clientSource', '10.0.0.0/8,::1', '10.0.0.0/8, ::1'],
    ['deny.file', '/etc/deny.yaml', '/etc/deny.yaml'],
    ['sts.hosts', ['sts.eu-west-1.amazonaws.com'], 'sts.eu-west-1.amazonaws.com'],
  ] as const) {
    t.equal(show(path, value), shown)
  }
})

t.test('any other text is described, because it may be a secret in the wrong place', async t => {
  for (const [path, value, shown] of [
    ['upstream.uri', 'mongodb://a:b@c/', 'not shown'],
    ['sts.proxy', 'http://proxy:1', 'not shown'],
    ['listen.scope', 'hunter2', 'a text of 7 characters'],
    ['listen.host', 'fe80::1%hunter2', 'a text of 15 characters'],
    ['listen.host', 'hunter2:27017', 'a text of 13 characters'],
    ['admin.hosts', ['hunter2', '10.0.0.7'], 'a text of 7 characters, 10.0.0.7'],
    ['sts.hosts', [{ host: 'hunter2', connect: '127.0.0.1:1' }], 'a text of 7 characters at 127.0.0.1:1'],
    ['deny.file', 'deny.yaml', 'a text of 9 characters'],
    ['users', [{ user: 'a' }, { user: 'b' }], '2 entries'],
  ] as const) {
    t.equal(show(path, value), shown)
  }
})
