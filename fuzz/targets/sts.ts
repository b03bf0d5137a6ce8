/** Mutates what STS sends. A principal without a rule, and a signature that STS refuses, must never be admitted. */
import { RawClient } from '../client.js'
import { mutateLink, type Target } from '../target.js'

export const sts: Target = {
  concurrency: 64,
  ...mutateLink('sts', 0.5),
  async runCase({ port, alice, mallory, findings }, random) {
    // Many addresses, because one whose logins keep failing is slowed down.
    const client = new RawClient(port, `127.0.${2 + random.below(200)}.${1 + random.below(200)}`)
    const { accessKeyId } = alice
    const credentials = random.pick([alice, alice, mallory, { accessKeyId, secretAccessKey: 'not the secret' }])
    const reply = await client.logIn(credentials)
    if (reply?.ok && credentials !== alice) findings.push(`admitted without a valid signature of alice`)
    client.destroy()
  },
}
