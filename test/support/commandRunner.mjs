/**
 * Runs the command line many times in one process, because loading its modules is what a run costs.
 *
 *     node commandRunner.mjs PROGRAM
 *
 * A line of JSON on stdin is a run, `{"args": […], "env": {…}}`; a line on stdout is its result,
 * `{"run": N, "code": N, "stdout": "…", "stderr": "…"}`. Each run evaluates PROGRAM anew. Runs follow each other. Other lines on
 * stdout are events of audit trails, which bypass `process.stdout`.
 */
import { createInterface } from 'node:readline'
import { pathToFileURL } from 'node:url'

const program = process.argv[2]
const { stdout, stderr } = process
const writeResult = stdout.write.bind(stdout)
let runs = 0

async function run({ args, env }) {
  const result = { code: 0, stdout: '', stderr: '' }
  process.argv = [process.execPath, program, ...args]
  process.env = env
  stdout.write = text => {
    result.stdout += text
    return true
  }
  stderr.write = text => {
    result.stderr += text
    return true
  }
  result.code = await new Promise((resolve, reject) => {
    process.exit = resolve
    import(`${pathToFileURL(program)}?run=${++runs}`).catch(reject)
  })
  for (const event of ['uncaughtException', 'unhandledRejection', 'SIGHUP', 'SIGTERM', 'SIGINT']) {
    process.removeAllListeners(event)
  }
  for (const stream of [stdout, stderr]) stream.removeAllListeners('error')
  return { run: runs, ...result }
}

for await (const line of createInterface(process.stdin)) writeResult(`${JSON.stringify(await run(JSON.parse(line)))}\n`)
