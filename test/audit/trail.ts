import t from 'tap'
import { PROXY_ACTOR } from '../../src/audit/events.js'
import { AuditTrail } from '../../src/audit/trail.js'
import type { LostEvents } from '../../src/audit/writer.js'
import { parseAuditLines } from '../support/audit.js'

function createTrail(hide?: (text: string) => string) {
  const lines: string[] = []
  let recover = (_?: LostEvents): void => {}
  const types: string[] = []
  const trail = new AuditTrail({
    instance: 'proxy-1',
    boot: '0123456789ab',
    wallClock: () => Date.parse('2026-08-13T12:00:00.123Z'),
    hide,
    writer: {
      append: (_, line) => void lines.push(line),
      whenWritten: async () => true,
      isFailing: false,
      onRecovered(run) {
        recover = run
      },
      async close() {},
    },
    onRecorded: type => void types.push(type),
  })
  return {
    trail,
    lines,
    types,
    recover: (lost?: LostEvents) => recover(lost),
    events: () => parseAuditLines(lines.join('')),
  }
}

t.test('an event has time, instance, boot and a number that counts from 1', async t => {
  const { trail, events, types } = createTrail()
  trail.record('process.start', { actor: PROXY_ACTOR, version: '1', configHash: 'abc' })
  trail.record('process.stop', { actor: PROXY_ACTOR, signal: 'SIGTERM' })
  t.same(events(), [
    {
      schema: 1,
      time: '2026-08-13T12:00:00.123Z',
      instance: 'proxy-1',
      boot: '0123456789ab',
      seq: 1,
      type: 'process.start',
      outcome: 'success',
      actor: { kind: 'proxy', id: null },
      address: null,
      port: null,
      connection: null,
      version: '1',
      configHash: 'abc',
    },
    { ...events()[1], seq: 2, type: 'process.stop', signal: 'SIGTERM' },
  ])
  t.same(types, ['process.start', 'process.stop'])
})

t.test('an event is one line, whatever its texts are', async t => {
  const { trail, lines, events } = createTrail()
  trail.record('command.refused', {
    actor: { kind: 'client', id: null },
    command: 'a\nb\u2028\u0085\u202e"',
    commands: 1,
    subnet: 'x'.repeat(3000),
  })
  t.equal(lines.length, 1)
  t.match(lines[0], /^[\x20-\x7e…]+\n$/)
  t.match(events(), [{ command: 'a\nb\u2028\u0085\u202e"', subnet: /^x{2047}…$/ }])
})

t.test('numbers that were lost are named after a recovery', async t => {
  const { trail, recover, events } = createTrail()
  trail.record('process.stop', { actor: PROXY_ACTOR, signal: 'none' })
  recover(undefined)
  recover({ from: 2, to: 5 })
  t.match(events(), [{ type: 'process.stop' }, { type: 'audit.gap', from: 2, to: 5, count: 4 }])
})

t.test('a whole line is searched for what must be hidden', async t => {
  const { trail, events } = createTrail(text => text.replaceAll('alice', 'hash-1'))
  trail.record('pin.set', { actor: PROXY_ACTOR, arn: 'arn:…/alice', principalId: 'AROA:alice' })
  t.match(events(), [{ arn: 'arn:…/hash-1', principalId: 'AROA:hash-1' }])
})
