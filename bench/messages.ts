/** The messages that the benchmarks exchange. The first letter of the command name tells them apart. */
import { serialize } from 'bson'
import { OP_MSG, writeFrame } from '../src/wire/frame.js'

/** Nearly the largest document that MongoDB permits, 16 MB. */
const LARGE_BYTES = 16 * 1024 * 1024 - 1024

const message = (document: object): Buffer => writeFrame(OP_MSG, 7, 0, [Buffer.alloc(5), serialize(document)])

/** `small`: both directions are small. `replies` and `requests`: that direction has 16 MB. */
export type Exchange = keyof typeof exchanges

/** Functions, because some messages take 16 MB. */
export const exchanges = {
  small: { request: () => message({ ping: 1, $db: 'admin' }), reply: () => message({ ok: 1 }) },
  replies: {
    request: () => message({ find: 'c', $db: 'app' }),
    reply: () => message({ data: Buffer.alloc(LARGE_BYTES), ok: 1 }),
  },
  requests: {
    request: () => message({ insert: 'c', $db: 'app', data: Buffer.alloc(LARGE_BYTES) }),
    reply: () => message({ ok: 1 }),
  },
}

/** Offset of the command name in a message whose first section is the body. */
export const COMMAND_NAME_OFFSET = 16 + 4 + 1 + 4 + 1
