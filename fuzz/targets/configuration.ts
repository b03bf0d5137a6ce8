/** Damages configurations that hold a secret in a wrong place. No message may repeat it, and none may be a bug. */
import {
  damageArguments,
  damageConfiguration,
  damageDenyFile,
  damageSources,
  leaks,
} from '../../test/support/secrecy.js'
import type { Target } from '../target.js'

/** Most of the grammar is in the configuration file. */
const GENERATORS = [
  damageConfiguration,
  damageConfiguration,
  damageConfiguration,
  damageDenyFile,
  damageArguments,
  damageSources,
]

export const configuration: Target = {
  concurrency: 1,
  async runCase({ findings }, random) {
    const { given, messages, fault } = random.pick(GENERATORS)(() => random.next())
    if (leaks(messages)) findings.push(`a message repeats the secret: ${messages}, given ${JSON.stringify(given)}`)
    if (fault?.kind === 'internal') findings.push(`${messages}, given ${JSON.stringify(given)}`)
    // The cases do no I/O. The proxy behind the probe needs the loop of this process.
    await new Promise(setImmediate)
  },
}
