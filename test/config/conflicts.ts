import t from 'tap'
import { loadConfig } from '../../src/config/load.js'
import { faultOf } from '../support/faults.js'

function load(settings: object) {
  const file = JSON.stringify({ upstream: { uri: 'mongodb://127.0.0.1/' }, ...settings })
  const bytes = (path: string) => Buffer.from(path === '/proxy.yaml' ? file : 'x'.repeat(40))
  return loadConfig({
    file: '/proxy.yaml',
    args: {},
    env: {},
    readFile: path => ({ bytes: bytes(path), mode: 0o600 }),
  })
}
const OPS = { name: 'ops', file: '/ops', may: 'write' }
/** The first warning is that there are no rules. */
const warningsOf = (settings: object) => load(settings).warnings.slice(1)
const problemsOf = (settings: object) => faultOf(() => load(settings))?.data('config/invalid')?.problems ?? []

t.test('a setting that another one makes void is a warning with its name', async t => {
  for (const [settings, expected] of [
    [{ admin: { port: 'off', tokenFile: '/token' } }, /^admin\.tokenFile: has no effect, because admin\.port is off/],
    [{ admin: { port: 'off', tokens: [OPS] } }, /^admin\.tokens: has no effect, because admin\.port is off/],
    [{ admin: { host: '10.0.0.7', hosts: ['proxy'] } }, /^admin\.hosts: has no effect, because neither/],
    [{ admin: { tokens: [{ ...OPS, may: 'read' }] }, deny: { adminFile: '/own' } }, /^deny\.adminFile: .*may write/],
    [{ deny: { adminFile: '/own' } }, /^deny\.adminFile: its denials count, but none can be added/],
    [{ directory: { refresh: '5s' } }, /^directory\.refresh: has no effect, because directory\.enabled is false/],
    [{ provision: { fleet: 'a' } }, /^provision\.fleet: has no effect, because provision\.secretFile is not set/],
    [{ provision: { clientSource: ['10.0.0.0/8'] } }, /^provision\.clientSource: has no effect/],
  ] as const) {
    t.match(warningsOf(settings), [expected], JSON.stringify(settings))
  }
  t.same(warningsOf({}), [])
  t.same(warningsOf({ admin: { hosts: ['proxy'] } }), [], 'loopback reads need no token')
  t.same(warningsOf({ admin: { tokens: [OPS] }, deny: { adminFile: '/own' } }), [])
  t.same(warningsOf({ admin: { tokenFile: '/token', hosts: ['proxy'] }, deny: { adminFile: '/own' } }), [])
})

t.test('a file that the proxy writes is refused as the file of any other setting', async t => {
  for (const [settings, expected] of [
    [{ pins: { file: '/a' }, deny: { adminFile: '/a' } }, /^deny\.adminFile: is also pins\.file/],
    [{ pins: { file: '/a' }, admin: { tokens: [{ ...OPS, file: '/a' }] } }, /^pins\.file: is also admin\.tokens\[0\]/],
    [{ pins: { file: '/proxy.yaml' } }, /^pins\.file: is also the configuration/],
    [{ pins: { file: '/b/../a' }, provision: { secretFile: '/a' } }, /^pins\.file: is also provision\.secretFile/],
    [
      {
        pins: { file: '/a' },
        users: [{ arn: 'arn:aws:iam::123456789012:user/a', user: 'a', passwordFile: '/a' }],
      },
      /^pins\.file: is also users\[0\]\.passwordFile/,
    ],
  ] as const) {
    const problems = problemsOf(settings)
    t.ok(
      problems.some(problem => expected.test(problem)),
      problems.join('\n'),
    )
  }
})
