/** Mutates what the upstream MongoDB sends: to the server monitor, to logins and to sessions. */
import { CLIENT_ADDRESSES, RawClient } from '../client.js'
import { mutateLink, type Target } from '../target.js'

export const upstream: Target = {
  concurrency: 32,
  ...mutateLink('mongo', 0.15),
  async runCase({ port, alice, findings }, random) {
    const client = new RawClient(port, random.pick(CLIENT_ADDRESSES))
    if (random.chance(0.3)) await client.ask({ hello: 1, $db: 'admin' })
    const reply = await client.logIn(alice)
    if (reply?.ok) {
      for (let left = random.below(6); left > 0 && client.socket.writable; left--) {
        client.write(client.encode({ find: 'c', $db: 'app' }))
        await client.receive(50)
      }
    }
    // The mutated replies may refuse the database user. STS has refused nothing.
    if (Number(reply?.code) === 18 && /sts/i.test(String(reply?.errmsg)))
      findings.push(`STS was blamed: ${reply?.errmsg}`)
    client.destroy()
  },
}
