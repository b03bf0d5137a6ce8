import t from 'tap'
import { CommandAudit } from '../../src/app/commandAudit.js'
import type { AuditDestination } from '../../src/audit/destination.js'
import { loadConfig } from '../../src/config/load.js'
import { Fault } from '../../src/errors.js'
import { createMemoryDestination } from '../support/audit.js'
import { faultOfAsync } from '../support/faults.js'

const UNOPENED = 'audit.to: cannot open a path: EACCES'

/** `isFull`: nothing can be written. `isUnopened`: not even the file can be opened. */
function createAudit({ to = 'stdout', onFailure = 'serve', isFull = false, isUnopened = false } = {}) {
  const file = JSON.stringify({ upstream: { uri: 'mongodb://a' }, instance: 'proxy-1', audit: { to, onFailure } })
  const readFile = () => ({ bytes: Buffer.from(file), mode: 0o600 })
  const config = loadConfig({ file: 'proxy.yaml', args: {}, env: {}, readFile })
  const memory = createMemoryDestination()
  const full: AuditDestination = { ...memory, write: (_, done) => setImmediate(done, new Error('ENOSPC'), 0) }
  const opened: string[] = []
  const open = (to: string): AuditDestination => {
    opened.push(to)
    if (isUnopened) throw new Fault('config/invalid', UNOPENED, { problems: [UNOPENED] })
    return isFull ? full : memory
  }
  const audit = new CommandAudit({ config, command: 'users prune', user: 'dba', open })
  return { audit, opened, events: memory.events }
}

t.test('a command records its beginning and its changes as the user who runs it', async t => {
  const { audit, events } = createAudit()
  await audit.begin()
  const [begin] = events()
  const actor = { kind: 'command', id: 'dba' }
  t.match(begin, { type: 'command', command: 'users prune', outcome: 'success', seq: 1, instance: 'proxy-1', actor })
  audit.record('role.dropped', { actor: { kind: 'proxy', id: null }, role: 'read@app' })
  audit.recordFailure(new Fault('upstream/unreachable'))
  await audit.close()
  t.match(events().slice(1), [
    { type: 'role.dropped', actor },
    { type: 'command', outcome: 'failed', reason: /unreachable/, actor },
  ])
  t.equal(audit.problem, undefined)
})

t.test('events go where those of the proxy go, but never into the output of the command', async t => {
  for (const [to, destination] of [
    ['stdout', 'stderr'],
    ['stderr', 'stderr'],
    ['/var/log/audit.jsonl', '/var/log/audit.jsonl'],
  ] as const) {
    const { audit, opened } = createAudit({ to })
    await audit.begin()
    await audit.close()
    t.same(opened, [destination])
  }
})

t.test('without a trail, a command runs and says so, or fails before it begins', async t => {
  for (const [trouble, problem, kind] of [
    [{ isUnopened: true }, UNOPENED, 'config/invalid'],
    [{ isFull: true }, 'ENOSPC', 'audit/unavailable'],
  ] as const) {
    const serving = createAudit(trouble).audit
    await serving.begin()
    t.equal(serving.problem, problem)
    await serving.close()
    const refusing = createAudit({ ...trouble, onFailure: 'refuse' }).audit
    t.equal((await faultOfAsync(() => refusing.begin()))?.kind, kind)
    await refusing.close()
  }
})
