/** The command line as a function: exit code and output of any number of runs, for the price of one process. */
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import type { Test } from 'tap'
import { program } from './demo.js'
import { type ProgramResult, startNode } from './program.js'

const runner = fileURLToPath(new URL('commandRunner.mjs', import.meta.url))

/** Runs a command to its end. `env` is all of its environment. */
export type RunCommand = (args: readonly string[], env?: Record<string, string>) => Promise<ProgramResult>

/** Starts the process that runs the commands, one after another. It ends with the test. */
export function startCommandRunner(t: Test): RunCommand {
  const { child, exited } = startNode(t, [runner, program])
  const results = createInterface(child.stdout)
  let problems = ''
  child.stderr.on('data', chunk => {
    problems += chunk
  })
  const ended = exited.then(code => Promise.reject(new Error(`the runner ended with ${code}: ${problems}`)))
  ended.catch(() => {})
  let last: Promise<unknown> = Promise.resolve()
  const run: RunCommand = async (args, env = {}) => {
    child.stdin.write(`${JSON.stringify({ args, env })}\n`)
    const [line] = await Promise.race([once(results, 'line'), ended])
    return JSON.parse(line)
  }
  return (args, env) => {
    const result = last.then(() => run(args, env))
    last = result.catch(() => {})
    return result
  }
}
