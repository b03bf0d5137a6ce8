import t from 'tap'
import type { CertificateFile } from '../../src/app/certificates.js'
import { CertificateWatch } from '../../src/app/certificateWatch.js'
import type { Log } from '../../src/log.js'
import { createManualClock } from '../support/clock.js'

const HOUR = 3_600_000
const DAY = 24 * HOUR

function createWatch() {
  const clock = createManualClock()
  const lines: string[] = []
  const log: Log = (level, event, fields) => {
    const { file, daysLeft } = fields as { file: string; daysLeft?: number }
    lines.push([level, event, file, daysLeft].filter(part => part !== undefined).join(' '))
  }
  const watch = new CertificateWatch({ log, after: clock.after, wallClock: clock.now })
  /** Lets time pass hour by hour and returns the lines of that time. */
  const pass = (ms: number) => {
    for (let left = ms; left > 0; left -= HOUR) clock.advance(Math.min(left, HOUR))
    return lines.splice(0)
  }
  return { watch, clock, pass, lines }
}

const file = (name: string, expiresAt: number): CertificateFile => ({
  ...{ file: name, role: 'server', setting: 'tls.certFile', expiresAt, fingerprint: `${name} ${expiresAt}` },
})

t.test('a certificate that lasts is not mentioned until 30 days are left, then once a day', async t => {
  const { watch, pass, lines } = createWatch()
  watch.watch([file('/a', 32.5 * DAY)])
  t.same(lines, [])
  t.same(pass(2.5 * DAY - HOUR), [])
  t.same(pass(HOUR), ['warn certificate expires soon /a 30'])
  t.same(
    pass(3 * DAY),
    [29, 28, 27].map(days => `warn certificate expires soon /a ${days}`),
  )
})

t.test('the error comes at the moment of the expiry, then once a day', async t => {
  const { watch, clock, pass, lines } = createWatch()
  watch.watch([file('/a', 90_061)])
  t.same(lines.splice(0), ['warn certificate expires soon /a 0'])
  clock.advance(90_060)
  t.same(lines, [])
  clock.advance(1)
  t.same(lines.splice(0), ['error certificate expired /a'])
  t.same(pass(2 * DAY), ['error certificate expired /a', 'error certificate expired /a'])
})

t.test('a certificate that has expired is an error at start', async t => {
  const { watch, lines, clock } = createWatch()
  clock.advance(DAY)
  watch.watch([file('/a', 1), file('/b', 100 * DAY)])
  t.same(lines, ['error certificate expired /a'])
})

t.test('a reload does not repeat a line, and reports a new certificate at once', async t => {
  const { watch, lines, pass } = createWatch()
  watch.watch([file('/a', 3 * DAY)])
  lines.splice(0)
  watch.watch([file('/a', 3 * DAY)])
  t.same(lines, [])
  watch.watch([file('/a', 2 * DAY), file('/b', 1 * DAY)])
  t.same(lines.splice(0), ['warn certificate expires soon /a 2', 'warn certificate expires soon /b 1'])
  watch.watch([file('/a', 500 * DAY)])
  t.same(pass(3 * DAY), [])
})

t.test('the seconds are counted down past zero, and a file with two roles has the earlier expiry', async t => {
  const { watch, clock } = createWatch()
  watch.watch([file('/a', 10_500), file('/b', 20_000), file('/b', 15_000)])
  t.same(watch.secondsLeft(), { '/a': 10, '/b': 15 })
  clock.advance(20_000)
  t.same(watch.secondsLeft(), { '/a': -10, '/b': -5 })
  t.match(watch.list(), [{ file: '/a', role: 'server', daysLeft: -1 }, {}, {}])
})

t.test('nothing runs without certificates, or after the end', async t => {
  const { watch, clock } = createWatch()
  watch.watch([])
  t.equal(clock.waiting(), 0)
  watch.watch([file('/a', DAY)])
  watch.close()
  t.equal(clock.waiting(), 0)
})
