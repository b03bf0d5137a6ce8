/**
 * The principals whose database user still has roles that a rule or a directory user took away, because MongoDB has not been
 * changed yet.
 *
 *     decision ──────────────▶ MongoDB changed: forgotten
 *        └─ grace period over ─▶ overdue: the sessions of the principal must not use those roles any more
 */
import type { Role } from '../users/match.js'

type Reduction = { lost: readonly Role[]; since: number; isOverdue: boolean }

export class RoleReductions {
  readonly #pending = new Map<string, Reduction>()

  get size(): number {
    return this.#pending.size
  }

  /** The principals, by canonical ARN. */
  arns(): string[] {
    return [...this.#pending.keys()]
  }

  isOverdue(arn: string): boolean {
    return this.#pending.get(arn)?.isOverdue ?? false
  }

  /**
   * Sets the roles that a principal must lose; an empty list if its database user may keep all of its roles. Returns whether
   * they became overdue by this call. `now` and `graceMS` are in milliseconds. Another change of the roles does not start
   * the grace period again.
   */
  note(arn: string, lost: readonly Role[], { now, graceMS }: { now: number; graceMS: number }): boolean {
    if (lost.length === 0) {
      this.#pending.delete(arn)
      return false
    }
    const { since = now, isOverdue: wasOverdue = false } = this.#pending.get(arn) ?? {}
    const isOverdue = wasOverdue || now - since >= graceMS
    this.#pending.set(arn, { lost, since, isOverdue })
    return isOverdue && !wasOverdue
  }

  delete(arn: string): void {
    this.#pending.delete(arn)
  }
}
