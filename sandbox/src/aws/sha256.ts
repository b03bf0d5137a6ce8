/** SHA-256 and its HMAC with the interface that `@smithy/signature-v4` requires. */
import { createHash, createHmac, type Hash, type Hmac } from 'node:crypto'

type Source = string | ArrayBuffer | ArrayBufferView

/** A hash, or an HMAC if there is a secret. */
export class Sha256 {
  readonly #secret: Source | undefined
  #hash: Hash | Hmac

  constructor(secret?: Source) {
    this.#secret = secret
    this.#hash = start(secret)
  }

  update(source: Source): void {
    this.#hash.update(typeof source === 'string' ? source : bytes(source))
  }

  async digest(): Promise<Uint8Array> {
    return this.#hash.digest()
  }

  reset(): void {
    this.#hash = start(this.#secret)
  }
}

function start(secret: Source | undefined): Hash | Hmac {
  if (secret === undefined) return createHash('sha256')
  return createHmac('sha256', typeof secret === 'string' ? secret : bytes(secret))
}

/** A view has its own offset and length in its buffer. */
function bytes(source: ArrayBuffer | ArrayBufferView): Buffer {
  return ArrayBuffer.isView(source)
    ? Buffer.from(source.buffer, source.byteOffset, source.byteLength)
    : Buffer.from(source)
}
