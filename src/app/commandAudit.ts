/** The audit trail of a command. Its events go where those of the proxy go, and their actor is the user who runs it. */
import type { AuditDestination } from '../audit/destination.js'
import type { Actor, RecordAuditEvent } from '../audit/events.js'
import type { AuditTrail } from '../audit/trail.js'
import type { Config } from '../config/load.js'
import { Fault } from '../errors.js'
import { createCommandTrail } from './commandTrail.js'

export type CommandAuditOptions = {
  config: Pick<Config, 'instance' | 'audit'>
  /** The command, without the values of its flags. */
  command: string
  /** The user of the operating system. */
  user: string
  open?: (to: string) => AuditDestination
}

export class CommandAudit {
  readonly #options: CommandAuditOptions
  readonly #actor: Actor
  #trail: AuditTrail | undefined
  #problem: string | undefined

  constructor(options: CommandAuditOptions) {
    this.#options = options
    this.#actor = { kind: 'command', id: options.user }
  }

  /** Why events are missing; undefined if none is. */
  get problem(): string | undefined {
    return this.#problem
  }

  /**
   * Records that the command begins. Throws `config/invalid` or `audit/unavailable` if that is not possible and
   * `audit.onFailure` is refuse.
   */
  async begin(): Promise<void> {
    const { command, config } = this.#options
    const isRequired = config.audit.onFailure === 'refuse'
    try {
      this.#trail = this.#open()
    } catch (thrown) {
      if (isRequired) throw thrown
      this.#problem = Fault.from(thrown).detail ?? 'it cannot be opened'
    }
    this.record('command', { actor: this.#actor, command })
    const isWritten = (await this.#trail?.whenWritten()) ?? false
    if (!isWritten && isRequired) throw new Fault('audit/unavailable', this.#problem)
  }

  readonly record: RecordAuditEvent = (type, event) => this.#trail?.record(type, { ...event, actor: this.#actor })

  recordFailure({ message: reason }: Fault): void {
    this.record('command', { actor: this.#actor, outcome: 'failed', command: this.#options.command, reason })
  }

  /** Resolves once all events are written, or cannot be. */
  async close(): Promise<void> {
    await this.#trail?.close()
  }

  #open(): AuditTrail {
    const { config, open } = this.#options
    const onFailure = (why: string): void => {
      this.#problem = why
    }
    return createCommandTrail(config, { open, onFailure }).trail
  }
}
