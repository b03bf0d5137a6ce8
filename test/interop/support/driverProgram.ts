/** A client in another language: it is asked for one step at a time and answers each. README.md has the steps. */
import { createInterface } from 'node:readline'
import type { Test } from 'tap'
import { start } from './childProcess.js'
import type { Program } from './toolchains.js'

export type Failure = { code?: number; message: string; labels: string[] }
export type Answer = { value: Record<string, unknown>; error?: undefined } | { value?: undefined; error: Failure }

export type Client = {
  /** One step. */
  ask(step: string, facts?: object): Promise<Answer>
  /** One step that must not fail. */
  get(step: string, facts?: object): Promise<Record<string, unknown>>
  /** Ends it as an application ends; resolves to its exit code. */
  close(): Promise<number | null>
}

/** Starts one with these credentials in its environment, and gives it a connection string. It ends with the test. */
export async function client(t: Test, program: Program, uri: string, env: Record<string, string>): Promise<Client> {
  const started = start(t, program, [], env)
  const { child, exited, said } = started
  const lines = createInterface(child.stdout)[Symbol.asyncIterator]()
  const ask = async (step: string, facts: object = {}): Promise<Answer> => {
    child.stdin.write(`${JSON.stringify({ do: step, ...facts })}\n`)
    const { value, done } = await lines.next()
    if (done) throw new Error(`the client ended with ${await exited} at ${step}: ${said()}`)
    return JSON.parse(value)
  }
  const get = async (step: string, facts: object = {}) => {
    const { value, error } = await ask(step, facts)
    if (error) throw new Error(`${step}: ${error.message}`)
    return value
  }
  await get('open', { uri })
  return {
    ask,
    get,
    close: () => {
      child.stdin.end()
      return exited
    },
  }
}
