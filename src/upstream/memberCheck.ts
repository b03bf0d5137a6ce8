/** The checks of members on behalf of one request for a fresh view. Each member is checked at most once. */
import type { ServerMonitor } from './serverMonitor.js'

type Monitor = Pick<ServerMonitor, 'freshHello' | 'lastError'>

export class MemberCheck {
  /** Live: checks may add members, and remove them. */
  readonly #monitors: ReadonlyMap<string, Monitor>
  readonly #checked = new Set<string>()
  readonly #answered = new Set<string>()
  #firstFailure: unknown

  constructor(monitors: ReadonlyMap<string, Monitor>) {
    this.#monitors = monitors
  }

  hasAnswered(address: string | undefined): boolean {
    return address !== undefined && this.#answered.has(address)
  }

  get hasAnswers(): boolean {
    return this.#answered.size > 0
  }

  /** Undefined if no check failed. */
  get firstFailure(): unknown {
    return this.#firstFailure
  }

  /**
   * The members to check next. First the primary alone, then the other members that answered their last check, and
   * unreachable members only if no member has answered. Empty if no check is left to do.
   */
  selectNext(primary: string | undefined): string[] {
    if (primary !== undefined && !this.#checked.has(primary)) return [primary]
    const rest = [...this.#monitors.keys()].filter(address => !this.#checked.has(address))
    const reachable = rest.filter(address => !this.#monitors.get(address)?.lastError())
    if (reachable.length > 0) return reachable
    return this.hasAnswers ? [] : rest
  }

  /** Checks these members at the same time. Resolves when all checks have ended, or earlier as soon as `isEnough` holds. */
  run(addresses: readonly string[], isEnough: () => boolean): Promise<void> {
    return new Promise(resolve => {
      let pending = addresses.length
      for (const address of addresses) {
        this.#check(address).then(() => {
          if (--pending === 0 || isEnough()) resolve()
        })
      }
    })
  }

  async #check(address: string): Promise<void> {
    this.#checked.add(address)
    try {
      await this.#monitors.get(address)?.freshHello()
      this.#answered.add(address)
    } catch (thrown) {
      this.#firstFailure ??= thrown
    }
  }
}
