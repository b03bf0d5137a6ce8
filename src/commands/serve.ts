/**
 * Runs the proxy until a signal stops it, and reloads the configuration when one of its files changes.
 *
 *     SIGHUP                      reloads now, and opens the file of the audit trail again
 *     SIGTERM                     drains: not ready, still accepting for `drain.delay`, then running operations finish
 *     SIGINT                      drains without `drain.delay`, which is for load balancers and not for a terminal
 *     a second SIGTERM or SIGINT  stops at once
 */
import { setFlagsFromString } from 'node:v8'
import type { LoadedConfig } from '../app/policy.js'
import { type RunningProxy, startProxy } from '../app/proxy.js'
import { startTracing } from '../app/tracing.js'
import { openAuditDestination } from '../audit/destination.js'
import { after } from '../clock.js'
import { type ReadFile, readFile } from '../config/reading.js'
import { fileStamp, recordReads, watchFiles, watchFolder } from '../config/watch.js'
import { Fault } from '../errors.js'
import { createSessionNameHash } from '../identity/sessionNames.js'
import { createLog, type Log } from '../log.js'
import { describePath } from '../redaction.js'

export type Signal = 'SIGHUP' | 'SIGTERM' | 'SIGINT'
/** Calls `run` for every signal of this name. */
export type OnSignal = (signal: Signal, run: () => void) => void

/**
 * Loads the configuration, reading files through `read` only. `running` is the last good configuration. Throws
 * `config/invalid`.
 */
export type LoadPolicy = (read: ReadFile, running?: LoadedConfig) => LoadedConfig

export type ReloadingProxy = { proxy: RunningProxy; log: Log; requestReload(): void }

/** Resolves when the proxy has stopped. Throws `config/invalid` and `listener/address-unavailable`. */
export async function serve(load: LoadPolicy, onSignal: OnSignal): Promise<void> {
  let requestReload = (): void => {}
  // Registered before the start, because a SIGHUP without a handler ends the process.
  onSignal('SIGHUP', () => requestReload())
  const running = await startReloadingProxy(load)
  requestReload = () => {
    running.proxy.reopenAudit()
    running.requestReload()
  }
  await runUntilStopped(running, onSignal)
}

/**
 * V8 collects the young generation in parallel by default. This heap is small and collected often, so helper threads cost
 * more than they save: a quarter of the CPU time of a login on few cores. V8 reads the flag at every collection.
 */
const SINGLE_THREADED_SCAVENGES = '--no-parallel-scavenge'

/**
 * Starts a proxy that reloads its configuration when one of the files changes from which it was loaded. `auditTo` overrides
 * the setting. Throws `config/invalid` if the file of the audit trail cannot be opened or a package for traces is missing.
 */
export async function startReloadingProxy(load: LoadPolicy, auditTo?: 'stderr' | undefined): Promise<ReloadingProxy> {
  setFlagsFromString(SINGLE_THREADED_SCAVENGES)
  const { read, snapshot } = recordReads(readFile, fileStamp)
  const loaded = load(read)
  const { audit, log: logSettings } = loaded.config
  const hide = audit.hashKey && createSessionNameHash(audit.hashKey)
  const log = createLog(logSettings.level, undefined, hide)
  const tracing = await startTracing({ config: loaded.config, hide, log })
  const destination = openAuditDestination(auditTo ?? audit.to)
  const proxy = await startProxy(loaded, log, destination, log.setLevel, tracing)
  let running = loaded
  const watcher = watchFiles<LoadedConfig | Fault>(
    {
      load(read) {
        try {
          return load(read, running)
        } catch (thrown) {
          return Fault.from(thrown)
        }
      },
      onSettled(result) {
        if (proxy.reload(result) && !(result instanceof Fault)) running = result
      },
      read: readFile,
      stamp: fileStamp,
      watchFolder,
      after,
      onUnwatchable(path) {
        const problem = `${describePath(path)} is a pipe, which can be read only once: changes take effect after a restart`
        proxy.reload(new Fault('config/invalid', problem, { problems: [problem] }))
      },
    },
    snapshot,
  )
  return { proxy, log, requestReload: () => watcher.requestReload() }
}

/** Resolves when signals have stopped the proxy. */
export function runUntilStopped({ proxy, log }: ReloadingProxy, onSignal: OnSignal): Promise<void> {
  return new Promise(resolve => {
    let isDraining = false
    const stop = (signal: 'SIGTERM' | 'SIGINT'): void => {
      log('info', 'draining', { signal, forced: isDraining })
      const stopped = isDraining ? proxy.kill() : proxy.stop(signal === 'SIGINT' ? 0 : undefined, signal)
      isDraining = true
      stopped.then(resolve)
    }
    for (const signal of ['SIGTERM', 'SIGINT'] as const) onSignal(signal, () => stop(signal))
  })
}
