import t from 'tap'
import { parseFlags } from '../../src/config/flags.js'
import { faultOf } from '../support/faults.js'

const own = { config: 'text', json: 'toggle' } as const
const problems = (...argv: string[]): unknown => faultOf(() => parseFlags(argv, own))?.facts.problems

t.test('flags of settings are separated from flags of the command', async t => {
  t.same(
    parseFlags(
      ['serve', '--config', 'p.yaml', '--listen-port=0', '--json', '--tls-cert-file', 'c', '--sts-insecure', 'x'],
      own,
    ),
    {
      settings: { 'listen.port': '0', 'tls.certFile': 'c', 'sts.insecure': 'true' },
      own: { config: 'p.yaml', json: true },
      positionals: ['serve', 'x'],
    },
  )
  t.same(parseFlags(['--sts-insecure=false', '--log-level='], own).settings, {
    'sts.insecure': 'false',
    'log.level': '',
  })
})

t.test('every problem of a command line is reported at once', async t => {
  t.equal(faultOf(() => parseFlags(['--nope'], {}))?.kind, 'usage')
  t.same(problems('--listen-prot', '1', '-x', '--config', '--json', '--log-level', 'info', '--log-level=warn'), [
    'there is no such flag, a text of 13 characters; did you mean --listen-port?',
    'there is no such flag, a text of 2 characters',
    '--config needs a value',
    '--log-level is given twice',
  ])
  t.same(problems('--config'), ['--config needs a value'])
  t.same(problems('--json=yes'), ['--json takes no value'])
  t.same(problems('--users', 'alice'), ['there is no such flag, a text of 7 characters'])
  t.same(problems('--__proto__', '--constructor=1'), [
    'there is no such flag, a text of 11 characters',
    'there is no such flag, a text of 15 characters',
  ])
})

t.test('the flags of a command are typed', async t => {
  const line = parseFlags(['--json'], own)
  t.equal(line.own.json satisfies true | undefined, true)
  // @ts-expect-error: this flag is not declared
  t.equal(line.own.jsn, undefined)
})
