/** The messages that are measured with. Which of them it is can be told from the first letter of the command. */
import { serialize } from 'bson'
import { OP_MSG, writeFrame } from '../src/wire/frame.js'

/** A document of 16 MB, as large as one may be. */
const LARGE = 16 * 1024 * 1024 - 1024

const message = (document: object): Buffer => writeFrame(OP_MSG, 7, 0, [Buffer.alloc(5), serialize(document)])

export type Shape = keyof typeof shapes

/** What goes out and what comes back. Built when it is first asked for: some take 16 MB. */
export const shapes = {
  small: { request: () => message({ ping: 1, $db: 'admin' }), reply: () => message({ ok: 1 }) },
  replies: {
    request: () => message({ find: 'c', $db: 'app' }),
    reply: () => message({ data: Buffer.alloc(LARGE), ok: 1 }),
  },
  requests: {
    request: () => message({ insert: 'c', $db: 'app', data: Buffer.alloc(LARGE) }),
    reply: () => message({ ok: 1 }),
  },
}

/** Where the command's name begins in a message without sections before the body. */
export const NAME_AT = 16 + 4 + 1 + 4 + 1
