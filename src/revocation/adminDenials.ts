/** Denials that were made while the proxy runs, in a file of its own. A change counts once the disk has it. */
import { errorCode, Fault } from '../errors.js'
import { type OwnFile, ownFile } from '../users/serializedFile.js'
import { type Denial, getDenialKey, hasExpired } from './denials.js'
import { formatDenyFile, parseDenyFile } from './denyFile.js'

export type AdminDenials = {
  /** Those that have ended are forgotten with the next change. */
  all(): readonly Denial[]
  /** False where the very same is kept already. Throws `denials/not-persisted`, and then nothing has changed. */
  add(denial: Denial): Promise<boolean>
  /** Takes back what denies the same, however it is spelled; false where nothing does. Throws `denials/not-persisted`, and then nothing has changed. */
  remove(denial: Denial): Promise<boolean>
}

/** More than anybody denies by hand; what comes from programs belongs into the deny file. */
const MOST = 10_000

/** `now`: milliseconds since 1970. Throws `config/invalid` with every problem of the file. */
export function createAdminDenials({ text, name, write }: OwnFile, now: () => number): AdminDenials {
  const read = text === undefined ? { all: [], problems: [] } : parseDenyFile(text, name)
  if (read.problems.length > 0) {
    const problems = read.problems.map(problem => `deny.adminFile: ${problem}`)
    throw new Fault('config/invalid', problems.join('\n'), { problems })
  }
  let all: readonly Denial[] = read.all
  let last: Promise<unknown> = Promise.resolve()

  /** One change after the other, each from what the one before it left. */
  const change = (next: () => readonly Denial[] | undefined): Promise<boolean> => {
    const done = last.then(async () => {
      const changed = next()
      if (!changed) return false
      if (changed.length > MOST) throw new Fault('denials/not-persisted', `there are ${MOST} of them already`)
      try {
        await write(formatDenyFile(changed))
      } catch (thrown) {
        const why = errorCode(thrown) ?? 'unknown'
        throw new Fault('denials/not-persisted', undefined, { file: name, why }, thrown)
      }
      all = changed
      return true
    })
    last = done.catch(() => {})
    return done
  }
  const lasting = () => all.filter(denial => !hasExpired(denial, now()))
  const isOther = (one: Denial) => (other: Denial) => getDenialKey(other) !== getDenialKey(one)
  const same = (denial: Denial) => formatDenyFile([denial])
  return {
    all: () => all,
    add: denial =>
      change(() =>
        all.some(other => same(other) === same(denial)) ? undefined : [...lasting().filter(isOther(denial)), denial],
      ),
    remove: denial => change(() => (all.every(isOther(denial)) ? undefined : lasting().filter(isOther(denial)))),
  }
}

/** What is kept in a file of this process, which need not be there yet. Throws `config/invalid`. */
export function openAdminDenials(path: string, now: () => number): AdminDenials {
  return createAdminDenials(ownFile(path, 'deny.adminFile'), now)
}
