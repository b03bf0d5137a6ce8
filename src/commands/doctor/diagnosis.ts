/**
 * What a step of `doctor` found, and the sentence that ends the report.
 *
 * A step that fails often makes later ones fail, too. The first failure in the order of causes is therefore the one that the
 * last sentence names.
 */

/** Structurally an answer of `findings.ts`. The text of a failure says what fails and what to do about it. */
export type Diagnosis = { level: 'ok' | 'note' | 'warning' | 'failure'; text: string }

/** The steps, in the order of causes: an earlier failure explains later ones. They are the questions in the output of `--json`. */
export const STEPS = [
  'connectionString',
  'dns',
  'tcp',
  'tls',
  'hello',
  'replicaSet',
  'mechanism',
  'clock',
  'credentials',
  'region',
  'aws',
  'ldap',
  'rule',
  'login',
] as const

export type Step = (typeof STEPS)[number]

/** A diagnosis of a step, and what it is about: `TCP to mongo.example.com:27017`. */
export type StepResult = Diagnosis & { step: Step; subject: string }

export const ok = (text: string): Diagnosis => ({ level: 'ok', text })
export const note = (text: string): Diagnosis => ({ level: 'note', text })
export const warning = (text: string): Diagnosis => ({ level: 'warning', text })
export const failure = (text: string): Diagnosis => ({ level: 'failure', text })

/** `cause`: the step that failed first; null if none did. */
export type Verdict = { cause: Step | null; sentence: string }

/** `identity`: who logged in as which database user, if the login succeeded. */
export function conclude(results: readonly StepResult[], identity: string | undefined): Verdict {
  const failures = results.filter(({ level }) => level === 'failure')
  for (const step of STEPS) {
    const first = failures.find(result => result.step === step)
    if (!first) continue
    const rest = first.text.replace(/\.$/, '')
    const prefix = identity === undefined ? 'Logins fail' : `A login succeeds (${identity}), but drivers may fail`
    const subject = step === 'login' ? '' : `${first.subject}: `
    return { cause: step, sentence: `${prefix}: ${subject}${rest}.` }
  }
  const warnings = results.filter(({ level }) => level === 'warning').length
  const remark = warnings === 0 ? '' : `, with ${warnings === 1 ? 'one warning' : `${warnings} warnings`} above`
  if (identity === undefined) return { cause: null, sentence: 'Nothing failed, but no login was tried.' }
  return { cause: null, sentence: `Logins work: ${identity}${remark}.` }
}

/** `90 seconds`, `17 minutes`, `3 hours`. */
export function formatSpan(ms: number): string {
  const seconds = Math.round(Math.abs(ms) / 1000)
  if (seconds < 120) return seconds === 1 ? '1 second' : `${seconds} seconds`
  const minutes = Math.round(seconds / 60)
  return minutes < 120 ? `${minutes} minutes` : `${Math.round(minutes / 60)} hours`
}
