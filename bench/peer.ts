/** A process of its own for each part of a measurement: started, asked over IPC, ended by its id. */
import { type ChildProcess, type ForkOptions, fork, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'

/** CPU time since the process began, user and system together; memory in bytes. */
export type Usage = { cpuMS: number; rss: number; heap: number }

export type Peer = {
  pid: number
  /** Has it done what it knows by that name, and gives the answer. */
  ask<T>(what: string, facts?: object): Promise<T>
  /** Collects garbage first where `tidy` is asked for. */
  usage(tidy?: 'tidy'): Promise<Usage>
  stop(): Promise<void>
}

type Answer = { id: number; value?: unknown; error?: string }

/** The id of what a process says of itself unasked, once it can be asked. */
export const READY = 0

const STOP_MS = 5_000
/** Nothing that is measured takes this long. */
const ANSWER_MS = 60_000
const REPORT = new URL('peers/report.js', import.meta.url).href

const running = new Set<ChildProcess>()
process.on('exit', () => {
  for (const child of running) child.kill('SIGKILL')
})

/** Starts a module of bench/peers and waits for what it says of itself. */
export async function start<Facts>(name: string, args: string[] = []): Promise<Peer & { facts: Facts }> {
  const peer = forked(new URL(`peers/${name}.js`, import.meta.url).pathname, args, { stdio: ['ignore', 2, 2, 'ipc'] })
  return { ...peer, facts: await peer.answer<Facts>(READY) }
}

/** Starts a program of Node; `ready` picks the facts from the lines of its stderr, which is thrown away afterwards. */
export async function startProgram<Facts>(
  file: string,
  args: string[],
  { env, flags, ready }: { env: NodeJS.ProcessEnv; flags: string[]; ready(line: string): Facts | undefined },
): Promise<Peer & { facts: Facts }> {
  const peer = forked(file, args, { env, execArgv: flags, stdio: ['ignore', 'ignore', 'pipe', 'ipc'] })
  const { stderr } = peer.child
  if (!stderr) throw new Error(`${file} has no stderr`)
  let text = ''
  for await (const chunk of stderr.iterator({ destroyOnReturn: false })) {
    text += chunk
    for (const line of text.split('\n').slice(0, -1)) {
      const facts = ready(line)
      if (facts === undefined) continue
      stderr.resume()
      return { ...peer, facts }
    }
  }
  throw new Error(`${file} ended: ${text}`)
}

/** Starts a program that is not ours; undefined where it is not installed. Its memory is not asked for. */
export async function startForeign(program: string, args: string[]): Promise<Peer | undefined> {
  const child = spawn(program, args, { stdio: ['ignore', 'ignore', 'ignore'] })
  const there = await once(child, 'spawn').then(
    () => true,
    () => false,
  )
  if (!there) return undefined
  running.add(child)
  child.on('exit', () => running.delete(child))
  return {
    pid: child.pid ?? 0,
    ask: async what => {
      throw new Error(`${program} knows no ${what}`)
    },
    usage: async () => ({ cpuMS: cpuOf(child.pid ?? 0), rss: 0, heap: 0 }),
    stop: () => stop(child),
  }
}

type Forked = Peer & { child: ChildProcess; answer<T>(id: number): Promise<T> }

function forked(file: string, args: string[], options: ForkOptions): Forked {
  const execArgv = ['--expose-gc', '--import', REPORT, ...(options.execArgv ?? [])]
  const child = fork(file, args, { ...options, execArgv })
  running.add(child)
  const waiting = new Map<number, { resolve(value: unknown): void; reject(error: Error): void }>()
  let last = READY
  child.on('message', ({ id, value, error }: Answer) => {
    const asked = waiting.get(id)
    waiting.delete(id)
    if (error === undefined) asked?.resolve(value)
    else asked?.reject(new Error(error))
  })
  child.on('exit', code => {
    running.delete(child)
    for (const { reject } of waiting.values()) reject(new Error(`${file} ended with ${code}`))
  })
  const answer = <T>(id: number) =>
    new Promise<T>((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`${file} did not answer`)), ANSWER_MS)
      waiting.set(id, {
        resolve(value) {
          clearTimeout(timer)
          resolve(value as T)
        },
        reject(error) {
          clearTimeout(timer)
          reject(error)
        },
      })
    })
  const ask = <T>(what: string, facts: object = {}) => {
    const id = ++last
    child.send({ id, what, facts })
    return answer<T>(id)
  }
  return {
    child,
    pid: child.pid ?? 0,
    ask,
    answer,
    usage: tidy => ask<Usage>('usage', { tidy }),
    stop: () => stop(child),
  }
}

async function stop(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  const gone = once(child, 'exit')
  child.kill('SIGTERM')
  const timer = setTimeout(() => child.kill('SIGKILL'), STOP_MS)
  await gone
  clearTimeout(timer)
}

/** Fields 14 and 15 of /proc/PID/stat, in hundredths of a second; 0 where there is no such file. */
function cpuOf(pid: number): number {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1')
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    return (Number(fields[11]) + Number(fields[12])) * 10
  } catch {
    return 0
  }
}
