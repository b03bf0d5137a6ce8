/**
 * Findings of `check`, `doctor` and `users`, and their two forms: a line of text, and a line of JSON.
 *
 *     ok    upstream 127.0.0.1:27017: answers, version 8.0.4
 *     {"version":1,"type":"finding","level":"ok","question":"upstream","text":"upstream 127.0.0.1:27017: answers, …"}
 */
import { describeFault, Fault } from '../errors.js'
import { escapeUnprintable } from '../printable.js'
import { rejectOnAbort } from '../upstream/deadline.js'
import { describeTlsFailure } from './tlsFailures.js'

export type FindingLevel = 'ok' | 'note' | 'warning' | 'failure'

/** `question`: what was asked, one word of a fixed list. Only a failure makes the exit code 78. */
export type Finding = { level: FindingLevel; question: string; text: string }

/** Of the lines of JSON. A reader may rely on the fields of a version; later releases may add fields to it. */
const JSON_VERSION = 1

const PREFIXES: Readonly<Record<FindingLevel, string>> = {
  ok: 'ok    ',
  note: 'ok    note: ',
  warning: 'ok    warning: ',
  failure: 'FAIL  ',
}

/** One line, even if the text of a server contains line breaks. */
export const formatFinding = ({ level, text }: Finding): string => `${PREFIXES[level]}${escapeUnprintable(text)}`

export function formatFindingAsJson({ level, question, text }: Finding): string {
  return JSON.stringify({ version: JSON_VERSION, type: 'finding', level, question, text })
}

/** The problems of a configuration that cannot be used. */
export function describeInvalidConfiguration(problems: readonly string[]): Finding[] {
  return problems.map(text => ({ level: 'failure', question: 'configuration', text }))
}

/** The last line of JSON. Without it, the program ended early. `more`: further fields. */
export function formatSummaryAsJson(findings: readonly Finding[], more: object = {}): string {
  const count = (level: FindingLevel) => findings.filter(finding => finding.level === level).length
  const counts = { ok: count('ok'), note: count('note'), warning: count('warning'), failure: count('failure') }
  return JSON.stringify({ version: JSON_VERSION, type: 'summary', ok: counts.failure === 0, findings: counts, ...more })
}

/** A finding whose text begins with `warning: ` or `note: `. Any other text is a note. */
export function toRemark(question: string, text: string): Finding {
  const [, level = 'note', rest = ''] = /^(?:(note|warning): )?(.*)$/s.exec(text) ?? []
  return { level: level as FindingLevel, question, text: rest }
}

/** What an answer says about its subject: a text, or a text with a level. */
export type Answer = string | { level: FindingLevel; text: string }

export type Attempt = { question: string; subject: string; timeoutMS: number }

/**
 * Asks one question about one subject. Its answer becomes the finding, and so does the fault that it throws. It ends after
 * `timeoutMS` even if `run` ignores its signal. Never rejects.
 */
export async function attempt(
  { question, subject, timeoutMS }: Attempt,
  run: (signal: AbortSignal) => Answer | Promise<Answer>,
): Promise<Finding> {
  const signal = AbortSignal.timeout(timeoutMS)
  try {
    const answering = (async () => run(signal))()
    const answer = await rejectOnAbort(signal, answering)
    const { level, text } = typeof answer === 'string' ? { level: 'ok' as const, text: answer } : answer
    return { level, question, text: `${subject}: ${text}` }
  } catch (thrown) {
    const why = isTimeout(thrown) ? `no answer within ${timeoutMS} ms` : describeThrown(thrown)
    return { level: 'failure', question, text: `${subject}: ${why}` }
  }
}

const isTimeout = (thrown: unknown): boolean => thrown instanceof DOMException && thrown.name === 'TimeoutError'

/** A fault with its remedy, or with a better one if TLS has failed. An error that is no fault keeps its own message. */
function describeThrown(thrown: unknown): string {
  const fault = Fault.from(thrown)
  if (fault.kind === 'internal' && thrown instanceof Error) return thrown.message
  const tls = describeTlsFailure(fault.data('upstream/unreachable')?.code, 'upstream.uri')
  return tls === undefined ? describeFault(fault) : `${fault.message}: ${tls}`
}
