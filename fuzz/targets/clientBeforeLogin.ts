/** Mutates the conversation of a client up to its login. A write that follows the login at once must never be executed. */

import { CLIENT_ADDRESSES, RawClient, saslContinue, saslStart } from '../client.js'
import type { Environment } from '../environment.js'
import { mutateFrame, type Random, splitAnywhere } from '../random.js'
import type { Target } from '../target.js'
import { createFrame } from './commands.js'

const QUIET_MS = 20
/** Only the principal without a rule sends it. */
const CANARY = { insert: 'canary', documents: [{ a: 1 }], $db: 'app' }

export const clientBeforeLogin: Target = {
  concurrency: 24,
  async runCase(environment, random) {
    const client = new RawClient(environment.port, random.pick(CLIENT_ADDRESSES))
    const isKnown = random.chance(0.3)
    const reply = await converse(client, environment, random, isKnown)
    if (reply?.done && Number(reply.ok) === 1) {
      if (!isKnown) environment.findings.push('a principal without a rule was admitted')
      const user = await client.readUser()
      if (user !== undefined && user !== 'alice') environment.findings.push(`admitted as ${user}`)
    }
    client.destroy()
    if (environment.mongo.store.find('app', 'canary'))
      environment.findings.push('a write before the login was executed')
  },
}

async function converse(client: RawClient, environment: Environment, random: Random, isKnown: boolean) {
  const send = (frame: Buffer, mutationChance: number) => {
    const bytes = random.chance(mutationChance) ? mutateFrame(frame, random) : frame
    for (const part of splitAnywhere(bytes, random)) client.write(part)
  }
  for (let left = random.below(3); left > 0; left--) send(createFrame(left, random), 0.7)
  const canary = client.encode(CANARY)
  send(client.encode(saslStart()), 0.3)
  if (!isKnown && random.chance(0.2)) send(canary, 0)
  const challenge = await receiveChallenge(client)
  if (!challenge) return undefined
  const proof = await saslContinue(challenge, isKnown ? environment.alice : environment.mallory)
  send(client.encode(proof), 0.7)
  if (!isKnown) send(canary, 0)
  return client.receive(QUIET_MS * 10)
}

/** Skips the replies to what was sent before. */
async function receiveChallenge(client: RawClient) {
  for (let left = 5; left > 0; left--) {
    const reply = await client.receive(QUIET_MS)
    if (!reply || reply.payload) return reply
  }
  return undefined
}
