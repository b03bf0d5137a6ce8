/** Starts third-party programs, each with its own environment and home folder. They are ended by their process ids. */
import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createServer } from 'node:net'
import { createInterface } from 'node:readline'
import type { Test } from 'tap'
import { createTempFolder } from '../../support/program.js'
import type { Program } from './toolchains.js'

export type RunningProgram = {
  child: ChildProcessWithoutNullStreams
  /** Resolves with the exit code, or null after a signal. */
  exited: Promise<number | null>
  /** The last 4000 characters of its stderr. */
  stderr(): string
}

/** Starts a program in an empty folder, which is also its home. The program and the folder are removed after the test. */
export function startProgram(
  t: Test,
  [command, ...fixed]: Program,
  args: readonly string[],
  env: object = {},
): RunningProgram {
  const home = createTempFolder(t)
  const child = spawn(command, [...fixed, ...args], {
    cwd: home,
    env: { PATH: process.env.PATH, HOME: home, TMPDIR: home, AWS_EC2_METADATA_DISABLED: 'true', ...env },
  })
  let stderr = ''
  child.stderr.on('data', chunk => {
    stderr = `${stderr}${chunk}`.slice(-4000)
  })
  const exited = once(child, 'exit').then(([code]) => code as number | null)
  child.stdin.on('error', () => {})
  t.teardown(async () => {
    if (child.exitCode !== null || child.signalCode !== null) return
    child.kill('SIGKILL')
    await exited
  })
  return { child, exited, stderr: () => stderr }
}

/** Resolves with the first line of stdout or stderr that matches. Rejects if the program ends without such a line. */
export function waitForLine({ child, exited, stderr }: RunningProgram, pattern: RegExp): Promise<RegExpExecArray> {
  return new Promise((resolve, reject) => {
    for (const stream of [child.stdout, child.stderr]) {
      createInterface(stream).on('line', line => {
        const match = pattern.exec(line)
        if (match) resolve(match)
      })
    }
    exited.then(code => reject(new Error(`the program exited with ${code}: ${stderr()}`)))
  })
}

/**
 * Finds a free port, for programs that cannot report which port the system chose. The port is below the ephemeral range,
 * so that no outgoing connection takes it before the program does.
 */
export async function findFreePort(): Promise<number> {
  for (;;) {
    const port = 15_000 + Math.floor(Math.random() * 15_000)
    const server = createServer().listen(port, '127.0.0.1')
    const free = await once(server, 'listening').then(
      () => true,
      () => false,
    )
    if (!free) continue
    server.close()
    await once(server, 'close')
    return port
  }
}
