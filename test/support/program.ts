/**
 * A real program, run as on a machine of its own: of this process's environment it sees the PATH alone, and its home is an
 * empty folder. Program and home end with the test.
 */
import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Test } from 'tap'

export type RunningProgram = { child: ChildProcessWithoutNullStreams; exited: Promise<number | null> }
export type ProgramResult = { code: number | null; stdout: string; stderr: string }
type Where = { cwd?: string; env?: Record<string, string>; home?: string }

/** An empty folder that ends with the test. */
export function createTempFolder(t: Test): string {
  const folder = mkdtempSync(join(tmpdir(), 'mongo-iam-proxy-'))
  t.teardown(() => rmSync(folder, { recursive: true, force: true, maxRetries: 3 }))
  return folder
}

/** Starts `node` with these arguments. `exited` is its exit code, null if a signal ended it. */
export function startNode(
  t: Test,
  args: readonly string[],
  { cwd, env, home = createTempFolder(t) }: Where = {},
): RunningProgram {
  const child = spawn(process.execPath, args, {
    ...(cwd !== undefined && { cwd }),
    env: { PATH: process.env.PATH ?? '', HOME: home, TMPDIR: home, AWS_EC2_METADATA_DISABLED: 'true', ...env },
  })
  const exited = once(child, 'exit').then(([code]) => code as number | null)
  child.stdin.on('error', () => {}) // it may end without reading
  t.teardown(async () => {
    if (child.exitCode !== null || child.signalCode !== null) return
    child.kill('SIGKILL')
    await exited
  })
  return { child, exited }
}

/** Runs `node` with these arguments and this input to its end. */
export async function runNode(t: Test, args: readonly string[], input = '', where: Where = {}): Promise<ProgramResult> {
  const { child } = startNode(t, args, where)
  child.stdin.end(input)
  const [stdout, stderr, [code]] = await Promise.all([text(child.stdout), text(child.stderr), once(child, 'close')])
  return { code, stdout, stderr }
}

async function text(stream: NodeJS.ReadableStream): Promise<string> {
  let all = ''
  for await (const chunk of stream.setEncoding('utf8')) all += chunk
  return all
}
