/** botocore, Python's client of AWS, at an endpoint of ours or of moto. */
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import type { Test } from 'tap'
import type { AwsKeys } from '../../support/clients.js'
import { start } from './childProcess.js'

const script = fileURLToPath(new URL('aws_call.py', import.meta.url))

export type Call = { call: string; keys: AwsKeys; with?: object; service?: string; region?: string }
export type Outcome = { value?: Record<string, unknown>; error?: { code: string; message: string; status: number } }
export type Botocore = {
  ask(call: Call): Promise<Outcome>
  /** What must not fail. */
  get(call: Call): Promise<Record<string, unknown>>
}

/** Starts it. It ends with the test. */
export function botocore(t: Test, python: string, url: string): Botocore {
  const { child, exited, said } = start(t, [python], [script, url])
  const lines = createInterface(child.stdout)[Symbol.asyncIterator]()
  const ask = async ({ keys, ...call }: Call): Promise<Outcome> => {
    const three = [keys.accessKeyId, keys.secretAccessKey, keys.sessionToken ?? null]
    child.stdin.write(`${JSON.stringify({ ...call, keys: three })}\n`)
    const { value, done } = await lines.next()
    if (done) throw new Error(`botocore ended with ${await exited}: ${said()}`)
    return JSON.parse(value)
  }
  return {
    ask,
    async get(call) {
      const { value, error } = await ask(call)
      if (!value) throw new Error(`${call.call}: ${error?.code} ${error?.message}`)
      return value
    },
  }
}
