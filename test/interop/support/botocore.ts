/** botocore, the AWS client library for Python, as a client of the sandbox or of moto. */
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import type { Test } from 'tap'
import type { AwsKeys } from '../../support/clients.js'
import { startProgram } from './childProcess.js'

const script = fileURLToPath(new URL('aws_call.py', import.meta.url))

/** `operation` is a method of a botocore client, such as `get_caller_identity`; `args` are its parameters. */
export type AwsCall = { operation: string; keys: AwsKeys; args?: object; service?: string; region?: string }
export type AwsCallResult = {
  value?: Record<string, unknown>
  error?: { code: string; message: string; status: number }
}
export type Botocore = {
  /** Makes a call and returns its value or its error. */
  tryCall(call: AwsCall): Promise<AwsCallResult>
  /** Makes a call and returns its value. Rejects if the call fails. */
  call(call: AwsCall): Promise<Record<string, unknown>>
}

/** Starts botocore for the endpoint `url`. The program ends with the test. */
export function startBotocore(t: Test, python: string, url: string): Botocore {
  const { child, exited, stderr } = startProgram(t, [python], [script, url])
  const lines = createInterface(child.stdout)[Symbol.asyncIterator]()
  const tryCall = async ({ keys, ...call }: AwsCall): Promise<AwsCallResult> => {
    const credentials = [keys.accessKeyId, keys.secretAccessKey, keys.sessionToken ?? null]
    child.stdin.write(`${JSON.stringify({ ...call, keys: credentials })}\n`)
    const { value, done } = await lines.next()
    if (done) throw new Error(`botocore exited with ${await exited}: ${stderr()}`)
    return JSON.parse(value)
  }
  return {
    tryCall,
    async call(call) {
      const { value, error } = await tryCall(call)
      if (!value) throw new Error(`${call.operation}: ${error?.code} ${error?.message}`)
      return value
    },
  }
}
