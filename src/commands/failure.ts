/**
 * The fault that ends the program, in its two forms: lines of text for stderr, and a line of JSON for stdout.
 *
 *     {"version":1,"type":"fault","kind":"usage","exitCode":64,"message":…,"problems":[…],"remedy":…}
 */
import { type Fault, toExitCode } from '../errors.js'

/** Of the line of JSON. Later releases may add fields to a version. */
const JSON_VERSION = 1

/** Commands whose output is JSON with `--json`, whatever happens. */
const JSON_COMMANDS: readonly string[] = [
  'check',
  'deny',
  'doctor',
  'explain',
  'sessions',
  'settings',
  'status',
  'undeny',
  'users',
]

/** Whether the caller expects JSON. A wrong command line cannot be parsed, so this reads the arguments alone. */
export function expectsJson([command = '', ...argv]: readonly string[]): boolean {
  const end = argv.indexOf('--')
  const flags = end < 0 ? argv : argv.slice(0, end)
  return JSON_COMMANDS.includes(command) && flags.some(word => word === '--json' || word.startsWith('--json='))
}

export function formatFault(fault: Fault): string {
  const { message, definition } = fault
  const problems = fault.data('config/invalid', 'usage')?.problems
  const lines = problems ? [definition.summary, ...problems.map(line => `  ${line}`)] : [stackOf(fault) ?? message]
  return `mongo-iam-proxy: ${[...lines, definition.remedy].join('\n')}`
}

export function formatFaultAsJson(fault: Fault): string {
  const { kind, detail, definition } = fault
  const problem = stackOf(fault) ?? detail
  return JSON.stringify({
    version: JSON_VERSION,
    type: 'fault',
    kind,
    exitCode: toExitCode(fault),
    message: definition.summary,
    problems: fault.data('config/invalid', 'usage')?.problems ?? (problem === undefined ? [] : [problem]),
    remedy: definition.remedy,
  })
}

/** Only a bug needs its stack. */
function stackOf({ kind, cause, stack }: Fault): string | undefined {
  return kind === 'internal' ? (cause instanceof Error && cause.stack) || stack : undefined
}
