/**
 * Sends mutated input to a running proxy, damages its configuration, and prints its findings: `npm run fuzz`.
 *
 *     --seconds N    for each target; default 60
 *     --seed N       of the random choices; default: the time. Timing decides as well, so a seed repeats a run only roughly
 *     --only NAME    one target; may be repeated
 *
 * A finding is a fault of kind `internal`, an end of the process, a login that must not succeed, a command that must not
 * pass, a message that repeats a secret, a minute without an honest login, or too much memory. Exits with 1 after a finding.
 */
import { parseArgs } from 'node:util'
import { startEnvironment } from './environment.js'
import { Random } from './random.js'
import { runTarget, type Target } from './target.js'
import { clientAfterLogin } from './targets/clientAfterLogin.js'
import { clientBeforeLogin } from './targets/clientBeforeLogin.js'
import { configuration } from './targets/configuration.js'
import { sts } from './targets/sts.js'
import { upstream } from './targets/upstream.js'

const targets: Record<string, Target> = { clientBeforeLogin, clientAfterLogin, upstream, sts, configuration }

// `exit` handlers of environment.ts stop the proxies. A signal alone would not run them.
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => process.exit(1))

const { values } = parseArgs({
  options: {
    seconds: { type: 'string', default: '60' },
    seed: { type: 'string', default: String(Date.now() % 2 ** 31) },
    only: { type: 'string', multiple: true, default: Object.keys(targets) },
  },
})

let findings = 0
console.log(`seed ${values.seed}`)
for (const [name, target] of Object.entries(targets)) {
  if (!values.only.includes(name)) continue
  const environment = await startEnvironment()
  const cases = await runTarget(target, environment, new Random(Number(values.seed)), Number(values.seconds))
  await environment.close()
  findings += environment.findings.length
  console.log(`${name}: ${cases} cases, ${environment.findings.length} findings`)
  for (const finding of environment.findings) console.log(`  ${finding}`)
}
process.exit(findings > 0 ? 1 : 0)
