/**
 * Records what the configuration says at start, and what changes later.
 *
 * There may be as many events as rules. They are recorded in groups, each after the previous one was written, because the
 * queue of the trail is bounded.
 */
import type { AuditTrail } from '../audit/trail.js'
import {
  type ConfigEvent,
  describeChanges,
  describeDenialChanges,
  describeLoaded,
  describeRejection,
} from './configAudit.js'
import { describeDirectoryChanges } from './directoryAudit.js'
import type { LoadedConfig } from './policy.js'
import type { ReloadAudit } from './reload.js'
import { describeLoadedSecrets, describeSecretChanges, type SecretEvent } from './secretAudit.js'

/** Events that are recorded at once. */
const GROUP_SIZE = 500

export class ChangeAuditor implements ReloadAudit {
  readonly #trail: Pick<AuditTrail, 'record' | 'whenWritten'>
  #waiting: (() => void)[] = []
  #isRecording = false

  constructor(trail: Pick<AuditTrail, 'record' | 'whenWritten'>) {
    this.#trail = trail
  }

  /** Records what the proxy starts with. */
  recordLoaded(loaded: LoadedConfig): void {
    this.#recordConfig(describeLoaded(loaded))
    this.#recordSecrets(describeLoadedSecrets(loaded))
  }

  recordApplied(...[before, after, weakened]: Parameters<ReloadAudit['recordApplied']>): void {
    this.#recordConfig(describeChanges(before, after, weakened))
    this.#recordSecrets(describeSecretChanges(before, after))
  }

  recordRejected(...[problems, source, running]: Parameters<ReloadAudit['recordRejected']>): void {
    this.#recordConfig([describeRejection(problems, source, running)])
  }

  recordDenials(...[before, after]: Parameters<ReloadAudit['recordDenials']>): void {
    this.#recordConfig(describeDenialChanges(before, after))
  }

  /** Records how a read of the directory differs from the one before. */
  recordDirectory(...reads: Parameters<typeof describeDirectoryChanges>): void {
    this.#add(describeDirectoryChanges(...reads).map(event => () => this.#trail.record('directory', event)))
  }

  /** Records at once what still waits. */
  flush(): void {
    for (const record of this.#waiting.splice(0)) record()
  }

  #recordConfig(events: readonly ConfigEvent[]): void {
    this.#add(events.map(event => () => this.#trail.record('config', event)))
  }

  #recordSecrets(events: readonly SecretEvent[]): void {
    this.#add(events.map(event => () => this.#trail.record('secret', event)))
  }

  #add(records: readonly (() => void)[]): void {
    this.#waiting.push(...records)
    if (!this.#isRecording) void this.#recordWaiting()
  }

  async #recordWaiting(): Promise<void> {
    this.#isRecording = true
    while (this.#waiting.length > 0) {
      for (const record of this.#waiting.splice(0, GROUP_SIZE)) record()
      if (this.#waiting.length > 0) await this.#trail.whenWritten()
    }
    this.#isRecording = false
  }
}
