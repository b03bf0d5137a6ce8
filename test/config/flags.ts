import t from 'tap'
import { readFlags } from '../../src/config/flags.js'
import { faultOf } from '../support/faults.js'

const own = { config: 'text', json: 'toggle' } as const
const problems = (...argv: string[]): unknown => faultOf(() => readFlags(argv, own))?.facts.problems

t.test('flags of settings and of the command are told apart', async t => {
  t.same(
    readFlags(
      ['serve', '--config', 'p.yaml', '--listen-port=0', '--json', '--tls-cert-file', 'c', '--sts-insecure', 'x'],
      own,
    ),
    {
      settings: { 'listen.port': '0', 'tls.certFile': 'c', 'sts.insecure': 'true' },
      own: { config: 'p.yaml', json: true },
      words: ['serve', 'x'],
    },
  )
  t.same(readFlags(['--sts-insecure=false', '--log-level='], own).settings, {
    'sts.insecure': 'false',
    'log.level': '',
  })
})

t.test('everything wrong with a command line is said at once', async t => {
  t.equal(faultOf(() => readFlags(['--nope'], {}))?.kind, 'usage')
  t.same(problems('--listen-prot', '1', '-x', '--config', '--json', '--log-level', 'info', '--log-level=warn'), [
    'there is no flag --listen-prot; did you mean --listen-port?',
    'there is no flag -x',
    '--config wants a value',
    '--log-level stands twice',
  ])
  t.same(problems('--config'), ['--config wants a value'])
  t.same(problems('--json=yes'), ['--json takes no value'])
  t.same(problems('--users', 'alice'), ['there is no flag --users'])
  t.same(problems('--__proto__', '--constructor=1'), ['there is no flag --__proto__', 'there is no flag --constructor'])
})

t.test('what the command asked for is typed', async t => {
  const line = readFlags(['--json'], own)
  t.equal(line.own.json satisfies true | undefined, true)
  // @ts-expect-error: no such flag was declared
  t.equal(line.own.jsn, undefined)
})
