/** Mutates what the upstream MongoDB sends: to the server monitor, to logins and to sessions. */
import { RawClient } from '../client.js'
import { mutate } from '../random.js'
import type { Target } from '../target.js'

const ADDRESSES = ['127.0.1.1', '127.0.1.2', '127.0.1.3', '127.0.1.4']

export const upstream: Target = {
  concurrency: 32,
  disturb({ links }, random) {
    links.mongo.transform = chunk => (random.chance(0.15) ? mutate(chunk, random) : chunk)
  },
  restore({ links }) {
    links.mongo.transform = undefined
    links.mongo.resetConnections()
  },
  async runCase({ port, alice, findings }, random) {
    const client = new RawClient(port, random.pick(ADDRESSES))
    if (random.chance(0.3)) await client.ask({ hello: 1, $db: 'admin' })
    const reply = await client.logIn(alice)
    if (reply?.ok) {
      for (let left = random.below(6); left > 0 && client.socket.writable; left--) {
        client.write(client.encode({ find: 'c', $db: 'app' }))
        await client.receive(50)
      }
    } else if (reply && Number(reply.code) === 18 && !/password|credentials/i.test(String(reply.errmsg))) {
      // The upstream may refuse the database user, as its mutated replies say. STS has refused nothing.
      if (/sts/i.test(String(reply.errmsg))) findings.push(`STS was blamed: ${reply.errmsg}`)
    }
    client.destroy()
  },
}
