/** Mutates what a client sends after its login. Its identity must never change, and no authentication command may reach the upstream. */
import { CLIENT_ADDRESSES, RawClient } from '../client.js'
import { mutateFrame, splitAnywhere } from '../random.js'
import type { Target } from '../target.js'
import { createFrame, IDENTITY_COMMANDS } from './commands.js'

const FRAMES_PER_LOGIN = 12

export const clientAfterLogin: Target = {
  concurrency: 16,
  async runCase({ port, alice, mongo, findings }, random) {
    const client = new RawClient(port, random.pick(CLIENT_ADDRESSES))
    const reply = await client.logIn(alice)
    if (!reply?.ok) return client.destroy()
    for (let id = 10; id < 10 + FRAMES_PER_LOGIN && client.socket.writable; id++) {
      const frame = createFrame(id, random)
      for (const part of splitAnywhere(random.chance(0.6) ? mutateFrame(frame, random) : frame, random))
        client.write(part)
      await client.receive(5)
    }
    client.destroy()
    for (const name of ['authenticate', 'logout', 'getnonce', 'copydbsaslstart']) {
      if (mongo.counted(name) > 0) findings.push(`${name} reached the upstream`)
    }
    for (const { user } of mongo.connections()) {
      if (user && user.name.user !== 'alice') findings.push(`an upstream connection belongs to ${user.name.user}`)
    }
  },
  /** The proxy itself logs in with saslStart or within hello, then with saslContinue, once for each connection. */
  verify({ mongo, findings }) {
    for (const name of IDENTITY_COMMANDS) {
      if (mongo.counted(name) > 2 * mongo.acceptedCount())
        findings.push(`${mongo.counted(name)} ${name} reached the upstream`)
    }
  },
}
