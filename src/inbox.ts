/** What a client has sent and nobody has taken yet: whole frames, in order, bounded, with its leaving noticed at once. */
import type { Socket } from 'node:net'
import { type Frame, Framer } from './wire/frame.js'

const EMPTY = Buffer.alloc(0)
export type Inbox = {
  /** The next frame; undefined once the client has ended its side. Throws `frame/length`. */
  next(): Promise<Frame | undefined>
  /** Stops reading and gives what was read and not taken. */
  release(): Buffer
}

/**
 * Reads a socket, which keeps flowing while nobody asks (a paused one would hide that its peer left), up to `limit`
 * bytes behind. `begun` is called when the next frame was asked for and only the beginning of it is there; `left` when
 * the client ends its side or its socket closes, also while nobody waits for a frame, perhaps twice. Whoever waits for a
 * frame has it `inTurn`.
 */
export function inbox(
  socket: Socket,
  limit: number,
  begun: () => void,
  left: () => void,
  inTurn: (step: () => void) => void,
): Inbox {
  const framer = new Framer(limit)
  let over = false
  let chunks: Buffer[] = []
  let held = 0
  let dry = true // no whole frame is left in the framer
  let wake: (() => void) | undefined
  let due = false // whoever waits is woken in its turn

  const stir = (): void => {
    wake?.()
    wake = undefined
  }
  const wakeUp = (): void => {
    due = false
    stir()
  }
  const leave = (): void => {
    over = true
    left()
    stir()
  }
  const keep = (chunk: Buffer): void => {
    chunks.push(chunk)
    held += chunk.length
    if (held > limit) socket.pause()
    if (due || !wake) return
    due = true
    inTurn(wakeUp)
  }
  socket.on('data', keep)
  socket.on('end', leave)
  socket.on('close', leave)

  return {
    async next() {
      for (;;) {
        const chunk = (dry && chunks.shift()) || EMPTY
        held -= chunk.length
        dry = false
        for (const frame of framer.push(chunk)) return frame
        dry = true
        if (chunks.length > 0) continue
        if (over) return undefined
        if (framer.midway) begun()
        if (socket.isPaused()) socket.resume()
        await new Promise<void>(resolve => {
          wake = resolve
        })
      }
    },
    release() {
      socket.off('data', keep)
      socket.off('end', leave)
      socket.off('close', leave)
      socket.pause()
      const rest = framer.midway || chunks.length > 0 ? Buffer.concat([framer.rest(), ...chunks]) : EMPTY
      chunks = []
      return rest
    },
  }
}
