/** Denials made through the admin interface, in a file of their own. A change counts once it is on disk. */
import { Fault } from '../errors.js'
import { describePath } from '../redaction.js'
import { type OwnFile, openOwnFile, SerializedFile } from '../users/serializedFile.js'
import { type Denial, getDenialKey, hasExpired } from './denials.js'
import { formatDenyFile, parseDenyFile } from './denyFile.js'

export type AdminDenials = {
  /** Includes expired denials until the next change, which drops them. */
  all(): readonly Denial[]
  /** Resolves to false if the same denial exists already. Rejects with `denials/not-persisted`, and changes nothing then. */
  add(denial: Denial): Promise<boolean>
  /**
   * Removes the denial of the same principal, however it is spelled. Resolves to false if there is none. Rejects with
   * `denials/not-persisted`, and changes nothing then.
   */
  remove(denial: Denial): Promise<boolean>
}

/** A bound for denials made by hand. Programs write the deny file instead. */
const MAX_DENIALS = 10_000

/** Opens the denials in `deny.adminFile`, which need not exist yet. Throws `config/invalid` with every problem. */
export function openAdminDenials(path: string, now: () => number): AdminDenials {
  return createAdminDenials(openOwnFile(path, 'deny.adminFile'), now)
}

/** `now`: milliseconds since 1970. Throws `config/invalid` with every problem of the file. */
export function createAdminDenials(file: OwnFile, now: () => number): AdminDenials {
  const denials = new SerializedFile<readonly Denial[]>({
    file,
    value: parseFile(file),
    format: formatDenyFile,
    toFault: (code, cause) =>
      new Fault('denials/not-persisted', undefined, { file: describePath(file.path), why: code }, cause),
  })
  const change = (next: (all: readonly Denial[]) => readonly Denial[] | undefined): Promise<boolean> =>
    denials.update(all => {
      const changed = next(all)
      if (!changed) return { result: false }
      if (changed.length > MAX_DENIALS) {
        throw new Fault('denials/not-persisted', `the limit is ${MAX_DENIALS} denials`)
      }
      return { next: changed, result: true }
    })
  const dropExpired = (all: readonly Denial[]) => all.filter(denial => !hasExpired(denial, now()))
  return {
    all: () => denials.value,
    add: denial =>
      change(all =>
        all.some(isIdentical(denial)) ? undefined : [...dropExpired(all).filter(hasOtherKey(denial)), denial],
      ),
    remove: denial =>
      change(all => (all.every(hasOtherKey(denial)) ? undefined : dropExpired(all).filter(hasOtherKey(denial)))),
  }
}

const hasOtherKey = (one: Denial) => (other: Denial) => getDenialKey(other) !== getDenialKey(one)

function isIdentical(one: Denial): (other: Denial) => boolean {
  const text = formatDenyFile([one])
  return other => formatDenyFile([other]) === text
}

function parseFile({ text, path }: OwnFile): readonly Denial[] {
  if (text === undefined) return []
  const { all, problems: found } = parseDenyFile(text, describePath(path))
  if (found.length === 0) return all
  const problems = found.map(problem => `deny.adminFile: ${problem}`)
  throw new Fault('config/invalid', problems.join('\n'), { problems })
}
