/** Runs a driver program, often in another language, one step at a time. README.md lists the steps. */
import { createInterface } from 'node:readline'
import type { Test } from 'tap'
import { startProgram } from './childProcess.js'
import type { Program } from './toolchains.js'

/** An error as the application sees it. */
export type StepError = { code?: number; message: string; labels: string[] }
export type StepResult = { value: Record<string, unknown>; error?: undefined } | { value?: undefined; error: StepError }

export type DriverProgram = {
  /** Runs a step and returns its value or its error. */
  tryStep(name: string, args?: object): Promise<StepResult>
  /** Runs a step and returns its value. Rejects if the step fails. */
  step(name: string, args?: object): Promise<Record<string, unknown>>
  /** Closes stdin, so that the program closes its client and exits. Resolves with the exit code. */
  close(): Promise<number | null>
}

/** Starts a driver program with `env` and has it open a client for `uri`. The program ends with the test. */
export async function startDriverProgram(
  t: Test,
  program: Program,
  uri: string,
  env: Record<string, string>,
): Promise<DriverProgram> {
  const { child, exited, stderr } = startProgram(t, program, [], env)
  const lines = createInterface(child.stdout)[Symbol.asyncIterator]()
  const tryStep = async (name: string, args: object = {}): Promise<StepResult> => {
    child.stdin.write(`${JSON.stringify({ do: name, ...args })}\n`)
    const { value, done } = await lines.next()
    if (done) throw new Error(`the driver program exited with ${await exited} at ${name}: ${stderr()}`)
    return JSON.parse(value)
  }
  const step = async (name: string, args: object = {}) => {
    const { value, error } = await tryStep(name, args)
    if (error) throw new Error(`${name}: ${error.message}`)
    return value
  }
  await step('open', { uri })
  return {
    tryStep,
    step,
    close: () => {
      child.stdin.end()
      return exited
    },
  }
}
