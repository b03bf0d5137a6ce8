/** Programs that are not ours, run with an environment and a home of their own, and ended by their process id. */
import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createServer } from 'node:net'
import { createInterface } from 'node:readline'
import type { Test } from 'tap'
import { createTempFolder } from '../../support/program.js'
import type { Program } from './toolchains.js'

export type Started = {
  child: ChildProcessWithoutNullStreams
  exited: Promise<number | null>
  /** The last of what it said on stderr. */
  said(): string
}

/** Starts a program in an empty folder, which is its home. Both end with the test. */
export function start(t: Test, [command, ...first]: Program, args: readonly string[], env: object = {}): Started {
  const home = createTempFolder(t)
  const child = spawn(command, [...first, ...args], {
    cwd: home,
    env: { PATH: process.env.PATH, HOME: home, TMPDIR: home, AWS_EC2_METADATA_DISABLED: 'true', ...env },
  })
  let said = ''
  child.stderr.on('data', chunk => {
    said = `${said}${chunk}`.slice(-4000)
  })
  const exited = once(child, 'exit').then(([code]) => code as number | null)
  child.stdin.on('error', () => {})
  t.teardown(async () => {
    if (child.exitCode !== null || child.signalCode !== null) return
    child.kill('SIGKILL')
    await exited
  })
  return { child, exited, said: () => said }
}

/** Resolves with the first line on stdout or stderr that matches. Rejects if the program ends before it. */
export function lineOf({ child, exited, said }: Started, pattern: RegExp): Promise<RegExpExecArray> {
  return new Promise((resolve, reject) => {
    for (const stream of [child.stdout, child.stderr]) {
      createInterface(stream).on('line', line => {
        const found = pattern.exec(line)
        if (found) resolve(found)
      })
    }
    exited.then(code => reject(new Error(`ended with ${code}: ${said()}`)))
  })
}

/**
 * A port that was free a moment ago, for programs that cannot tell which one they took. It is below those from which
 * systems take the ports of outgoing connections, so that none of them has it a moment later.
 */
export async function freePort(): Promise<number> {
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
