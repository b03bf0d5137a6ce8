/**
 * A network of its own, in which the addresses are ours that Go's drivers cannot be told otherwise: 169.254.170.2 of ECS,
 * 169.254.169.254 of EC2, and sts.amazonaws.com by name.
 */
import { spawnSync } from 'node:child_process'
import type { Program } from './toolchains.js'

const SETUP = [
  'ip link set lo up',
  'ip address add 169.254.170.2/32 dev lo',
  'ip address add 169.254.169.254/32 dev lo',
  'hosts=$(mktemp)',
  'echo 127.0.0.1 localhost sts.amazonaws.com >"$hosts"',
  'mount --bind "$hosts" /etc/hosts',
  'rm "$hosts"', // the mount keeps it
  'exec "$0" "$@"',
]

/** What runs a program in there. Whatever listens in it is gone with the last program. Throws where it cannot be made. */
export async function namespace(): Promise<Program> {
  const program: Program = ['unshare', '--net', '--mount', '--', 'sh', '-c', SETUP.join(' && ')]
  const [command, ...args] = program
  const { status, stderr, error } = spawnSync(command, [...args, 'true'], { encoding: 'utf8' })
  if (status === 0) return program
  throw new Error(`a network namespace needs root and iproute2: ${error?.message ?? stderr.trim()}`)
}
