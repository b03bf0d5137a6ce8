/** The command line as a function: exit code and output of any number of runs, for the price of one process. */
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
  const lines = createInterface(child.stdout)[Symbol.asyncIterator]()
  let problems = ''
  child.stderr.on('data', chunk => {
    problems += chunk
  })
  const ended = exited.then(code => Promise.reject(new Error(`the runner ended with ${code}: ${problems}`)))
  ended.catch(() => {})
  let last: Promise<unknown> = Promise.resolve()
  const run: RunCommand = async (args, env = {}) => {
    child.stdin.write(`${JSON.stringify({ args, env })}\n`)
    for (;;) {
      const { value: line } = await Promise.race([lines.next(), ended])
      const result = JSON.parse(line ?? (await ended))
      if ('run' in result) return result
    }
  }
  return (args, env) => {
    const result = last.then(() => run(args, env))
    last = result.catch(() => {})
    return result
  }
}
