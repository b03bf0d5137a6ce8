/**
 * Runs a program as on a machine of its own: of the environment it gets only PATH, and its home is an empty folder. Both are
 * removed with the test.
 */
import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Test } from 'tap'

export type RunningProgram = { child: ChildProcessWithoutNullStreams; exited: Promise<number | null> }
export type ProgramResult = { code: number | null; stdout: string; stderr: string }
/** `descriptors`: the file descriptors that the program may open. */
type ProgramOptions = { cwd?: string; env?: Record<string, string>; home?: string; descriptors?: number }

/** Creates an empty folder that is removed with the test. */
export function createTempFolder(t: Test): string {
  const folder = mkdtempSync(join(tmpdir(), 'mongo-iam-proxy-'))
  t.teardown(() => rmSync(folder, { recursive: true, force: true, maxRetries: 3 }))
  return folder
}

/** Starts `node` with these arguments. `exited` is its exit code, null if a signal ended it. */
export function startNode(
  t: Test,
  args: readonly string[],
  { cwd, env, home = createTempFolder(t), descriptors }: ProgramOptions = {},
): RunningProgram {
  const limited = ['-c', `ulimit -n ${descriptors}; exec "$0" "$@"`, process.execPath, ...args]
  const [command, all] = descriptors === undefined ? [process.execPath, args] : ['/bin/sh', limited]
  const child = spawn(command, all, {
    ...(cwd !== undefined && { cwd }),
    env: { PATH: process.env.PATH ?? '', HOME: home, TMPDIR: home, AWS_EC2_METADATA_DISABLED: 'true', ...env },
  })
  const exited = once(child, 'exit').then(([code]) => code as number | null)
  child.stdin.on('error', () => {}) // the program may end without reading it
  t.teardown(async () => {
    if (child.exitCode !== null || child.signalCode !== null) return
    child.kill('SIGKILL')
    await exited
  })
  return { child, exited }
}

/** Runs `node` with these arguments and this input until it exits. */
export async function runNode(
  t: Test,
  args: readonly string[],
  input = '',
  options: ProgramOptions = {},
): Promise<ProgramResult> {
  const { child } = startNode(t, args, options)
  child.stdin.end(input)
  const [stdout, stderr, [code]] = await Promise.all([text(child.stdout), text(child.stderr), once(child, 'close')])
  return { code, stdout, stderr }
}

async function text(stream: NodeJS.ReadableStream): Promise<string> {
  let all = ''
  for await (const chunk of stream.setEncoding('utf8')) all += chunk
  return all
}
