/**
 * A network of its own, in which the two addresses are ours that AWS gives to every machine: 169.254.170.2 of ECS and
 * 169.254.169.254 of EC2. Go's drivers ask nowhere else.
 */
import { spawnSync } from 'node:child_process'
import type { Program } from './tools.js'

const ADDRESSES = ['169.254.170.2/32', '169.254.169.254/32']
const SETUP = ['ip link set lo up', ...ADDRESSES.map(address => `ip address add ${address} dev lo`), 'exec "$0" "$@"']

/** What runs a program in there. Whatever listens in it is gone with the last program. Throws where it cannot be made. */
export async function namespace(): Promise<Program> {
  const program: Program = ['unshare', '--net', '--', 'sh', '-c', SETUP.join(' && ')]
  const [command, ...args] = program
  const { status, stderr, error } = spawnSync(command, [...args, 'true'], { encoding: 'utf8' })
  if (status === 0) return program
  throw new Error(`a network namespace needs root and iproute2: ${error?.message ?? stderr.trim()}`)
}
