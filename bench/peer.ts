/** Peers: child processes, one for each part of a benchmark. They are called over IPC and ended by their ids. */
import { type ChildProcess, type ForkOptions, fork, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'

/** CPU time of the process so far, user and system together. Memory in bytes. */
export type Usage = { cpuMS: number; rss: number; heap: number }

export type Peer = {
  pid: number
  /** Calls a method of the peer and returns its result. */
  call<T>(method: string, params?: object): Promise<T>
  /** `'collect'`: collects garbage first. */
  usage(garbage?: 'collect'): Promise<Usage>
  stop(): Promise<void>
}

type Response = { id: number; value?: unknown; error?: string }

/** The id of the first message of a peer, which it sends when it can be called. */
export const READY = 0

const STOP_TIMEOUT_MS = 5_000
/** No measurement takes this long. */
const CALL_TIMEOUT_MS = 60_000
/** Loaded into each peer before its own code. */
const REPORT = new URL('peers/report.js', import.meta.url).href

const running = new Set<ChildProcess>()
process.on('exit', () => {
  for (const child of running) child.kill('SIGKILL')
})

/** Starts a module of bench/peers. `info` is what it reports when it is ready. */
export async function startPeer<Info>(name: string, args: string[] = []): Promise<Peer & { info: Info }> {
  const peer = forkPeer(new URL(`peers/${name}.js`, import.meta.url).pathname, args, { stdio: ['ignore', 2, 2, 'ipc'] })
  return { ...peer, info: await peer.waitFor<Info>(READY) }
}

/**
 * Starts a Node program that was not written for the benchmarks. `parseReady` finds the info in a line of its stderr, the
 * rest of which is discarded.
 */
export async function startProgram<Info>(
  file: string,
  args: string[],
  options: { env: NodeJS.ProcessEnv; flags: string[]; parseReady(line: string): Info | undefined },
): Promise<Peer & { info: Info }> {
  const { env, flags, parseReady } = options
  const peer = forkPeer(file, args, { env, execArgv: flags, stdio: ['ignore', 'ignore', 'pipe', 'ipc'] })
  const { stderr } = peer.child
  if (!stderr) throw new Error(`${file} has no stderr`)
  let text = ''
  for await (const chunk of stderr.iterator({ destroyOnReturn: false })) {
    text += chunk
    for (const line of text.split('\n').slice(0, -1)) {
      const info = parseReady(line)
      if (info === undefined) continue
      stderr.resume()
      return { ...peer, info }
    }
  }
  throw new Error(`${file} ended: ${text}`)
}

/** Starts a program that is not a Node program; undefined if it is not installed. Only its CPU time can be measured. */
export async function startExternal(program: string, args: string[]): Promise<Peer | undefined> {
  const child = spawn(program, args, { stdio: ['ignore', 'ignore', 'ignore'] })
  const isInstalled = await once(child, 'spawn').then(
    () => true,
    () => false,
  )
  if (!isInstalled) return undefined
  running.add(child)
  child.on('exit', () => running.delete(child))
  return {
    pid: child.pid ?? 0,
    call: async method => {
      throw new Error(`${program} has no method ${method}`)
    },
    usage: async () => ({ cpuMS: readCpuMS(child.pid ?? 0), rss: 0, heap: 0 }),
    stop: () => stop(child),
  }
}

type ForkedPeer = Peer & { child: ChildProcess; waitFor<T>(id: number): Promise<T> }

function forkPeer(file: string, args: string[], options: ForkOptions): ForkedPeer {
  const execArgv = ['--expose-gc', '--import', REPORT, ...(options.execArgv ?? [])]
  const child = fork(file, args, { ...options, execArgv })
  running.add(child)
  const pending = new Map<number, { resolve(value: unknown): void; reject(error: Error): void }>()
  let lastId = READY
  child.on('message', ({ id, value, error }: Response) => {
    const call = pending.get(id)
    pending.delete(id)
    if (error === undefined) call?.resolve(value)
    else call?.reject(new Error(error))
  })
  child.on('exit', code => {
    running.delete(child)
    for (const { reject } of pending.values()) reject(new Error(`${file} ended with ${code}`))
  })
  const waitFor = <T>(id: number) =>
    new Promise<T>((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`${file} did not answer`)), CALL_TIMEOUT_MS)
      pending.set(id, {
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
  const call = <T>(method: string, params: object = {}) => {
    const id = ++lastId
    child.send({ id, method, params })
    return waitFor<T>(id)
  }
  return {
    child,
    pid: child.pid ?? 0,
    call,
    waitFor,
    usage: garbage => call<Usage>('usage', { garbage }),
    stop: () => stop(child),
  }
}

async function stop(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  const exited = once(child, 'exit')
  child.kill('SIGTERM')
  const timer = setTimeout(() => child.kill('SIGKILL'), STOP_TIMEOUT_MS)
  await exited
  clearTimeout(timer)
}

/** Fields 14 and 15 of /proc/PID/stat, in hundredths of a second. 0 on a system without this file. */
function readCpuMS(pid: number): number {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1')
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    return (Number(fields[11]) + Number(fields[12])) * 10
  } catch {
    return 0
  }
}
