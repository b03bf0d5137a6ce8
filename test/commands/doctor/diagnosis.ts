import t from 'tap'
import { conclude, formatSpan, type StepResult } from '../../../src/commands/doctor/diagnosis.js'

const result = (step: StepResult['step'], level: StepResult['level'], text: string): StepResult => ({
  step,
  level,
  text,
  subject: `the ${step}`,
})

t.test('the sentence names the first failure in the order of causes, not of the report', async t => {
  const results = [
    result('credentials', 'failure', 'expired'),
    result('aws', 'failure', 'refused'),
    result('clock', 'failure', 'an hour behind.'),
    result('login', 'failure', 'refused, too'),
  ]
  t.same(conclude(results, undefined), { cause: 'clock', sentence: 'Logins fail: the clock: an hour behind.' })
})

t.test('a login that succeeds is no proof that drivers find the server', async t => {
  const { cause, sentence } = conclude([result('replicaSet', 'failure', 'another name')], 'A logs in as a@admin')
  t.equal(cause, 'replicaSet')
  t.match(sentence, /^A login succeeds \(A logs in as a@admin\), but drivers may fail: the replicaSet: another name\.$/)
})

t.test('without a failure, the sentence names who logs in, and counts warnings', async t => {
  t.same(conclude([], 'A logs in as a@admin'), { cause: null, sentence: 'Logins work: A logs in as a@admin.' })
  t.match(conclude([result('tls', 'warning', 'x')], 'A logs in').sentence, 'A logs in, with one warning above.')
  t.match(conclude([], undefined).sentence, 'no login was tried')
})

t.test('spans are in the unit that a reader expects', async t => {
  t.same([0, 1_000, -90_000, 17 * 60_000, 3 * 3600_000].map(formatSpan), [
    '0 seconds',
    '1 second',
    '90 seconds',
    '17 minutes',
    '3 hours',
  ])
})
