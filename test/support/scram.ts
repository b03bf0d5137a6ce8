/** A login with SCRAM-SHA-256 for tests without a driver. */
import { createHash, createHmac, pbkdf2Sync, randomBytes } from 'node:crypto'
import { Binary, type Document } from 'bson'

const payload = (text: string) => new Binary(Buffer.from(text))

/** The conversation of one user: the first command, and from its reply the second one and the expected final message. */
export function scramConversation(user: string, password: string) {
  const opening = `n=${user.replaceAll('=', '=3D').replaceAll(',', '=2C')},r=${randomBytes(18).toString('base64')}`
  const start = { saslStart: 1, mechanism: 'SCRAM-SHA-256', payload: payload(`n,,${opening}`), $db: 'admin' }
  const proof = ({ payload: challenge, conversationId }: Document) => {
    const message = challenge.toString('utf8')
    const [, nonce = '', salt = '', i = ''] = /^r=(.+),s=(.+),i=(\d+)$/.exec(message) ?? []
    const salted = pbkdf2Sync(password, Buffer.from(salt, 'base64'), Number(i), 32, 'sha256')
    const clientKey = createHmac('sha256', salted).update('Client Key').digest()
    const bound = `${opening},${message},c=biws,r=${nonce}`
    const storedKey = createHash('sha256').update(clientKey).digest()
    const signature = createHmac('sha256', storedKey).update(bound).digest()
    const p = Buffer.from(clientKey.map((byte, at) => byte ^ (signature[at] as number))).toString('base64')
    const serverKey = createHmac('sha256', salted).update('Server Key').digest()
    return {
      command: { saslContinue: 1, conversationId, payload: payload(`c=biws,r=${nonce},p=${p}`), $db: 'admin' },
      expected: `v=${createHmac('sha256', serverKey).update(bound).digest('base64')}`,
      iterations: Number(i),
    }
  }
  return { start, proof }
}

/** Logs in with two commands; gives the last reply. */
export async function logInWithScram(ask: (command: Document) => Promise<Document>, user: string, password: string) {
  const { start, proof } = scramConversation(user, password)
  return ask(proof(await ask({ ...start, options: { skipEmptyExchange: true } })).command)
}
