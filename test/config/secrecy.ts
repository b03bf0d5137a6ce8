/**
 * No message repeats a secret that stands in the wrong place of a configuration. A secret is put anywhere in valid files,
 * flags and variables, which are then damaged as people damage them.
 *
 * `SECRECY_MUTATIONS` sets the number of damaged files. `npm run fuzz -- --only configuration` runs the same cases without end.
 */
import t, { type Test } from 'tap'
import { Fault } from '../../src/errors.js'
import { createRandom } from '../support/mutations.js'
import {
  damageArguments,
  damageConfiguration,
  damageDenyFile,
  damageSources,
  leaks,
  load,
  messagesOf,
  SECRET,
  type SecrecyCase,
  WHOLE,
} from '../support/secrecy.js'

const MUTATIONS = Number(process.env.SECRECY_MUTATIONS ?? 800)

t.test('the whole configuration is valid', async t => {
  t.notOk(load({ file: 'main' }, { main: WHOLE }) instanceof Fault)
  t.notOk(leaks(messagesOf(load({ file: 'main' }, { main: WHOLE.replaceAll('...', '') }))))
  t.ok(leaks(`got "x${SECRET}"`) && leaks(`mongodb://root:${SECRET}@mongo/`))
})

/** Reports each leak and each bug with its seed. */
function assertSecrecy(t: Test, seed: number, { given, messages, fault }: SecrecyCase): void {
  if (leaks(messages)) t.fail(`seed ${seed}`, { given, messages })
  if (fault?.kind === 'internal') t.fail(`a bug, seed ${seed}`, { given, messages })
}

t.test('a damaged configuration file', async t => {
  let problems = 0
  for (let seed = 1; seed <= MUTATIONS; seed++) {
    const result = damageConfiguration(createRandom(seed))
    if (result.fault) problems++
    assertSecrecy(t, seed, result)
  }
  t.ok(problems > MUTATIONS / 2, `${problems} of ${MUTATIONS} have a problem`)
})

t.test('a damaged deny file', async t => {
  for (let seed = 1; seed <= MUTATIONS / 5; seed++) assertSecrecy(t, seed, damageDenyFile(createRandom(seed)))
  t.pass('no seed leaks')
})

t.test('flags, variables and stray arguments', async t => {
  for (let seed = 1; seed <= MUTATIONS; seed++) {
    assertSecrecy(t, seed, damageArguments(createRandom(seed)))
    assertSecrecy(t, seed, damageSources(createRandom(seed)))
  }
  t.pass('no seed leaks')
})
