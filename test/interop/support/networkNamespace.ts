/**
 * A network namespace whose loopback interface has the fixed addresses of AWS, which the Go drivers cannot be configured to
 * replace: 169.254.170.2 (ECS), 169.254.169.254 (EC2), and the name sts.amazonaws.com.
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
  'rm "$hosts"', // the bind mount keeps the contents
  'exec "$0" "$@"',
]

/**
 * The command that runs a program in a new network namespace. The namespace disappears with its last program. Throws if
 * the system cannot create one.
 */
export async function createNetworkNamespace(): Promise<Program> {
  const program: Program = ['unshare', '--net', '--mount', '--', 'sh', '-c', SETUP.join(' && ')]
  const [command, ...args] = program
  const { status, stderr, error } = spawnSync(command, [...args, 'true'], { encoding: 'utf8' })
  if (status === 0) return program
  throw new Error(`a network namespace needs root and iproute2: ${error?.message ?? stderr.trim()}`)
}
