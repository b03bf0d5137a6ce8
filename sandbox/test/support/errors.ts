/** The `SandboxError` that a call throws; undefined if it throws none. */
import { SandboxError } from '../../src/errors.js'

export function errorOf(run: () => unknown): SandboxError | undefined {
  try {
    run()
    return undefined
  } catch (thrown) {
    if (thrown instanceof SandboxError) return thrown
    throw thrown
  }
}

export async function errorOfAsync(run: () => Promise<unknown>): Promise<SandboxError | undefined> {
  try {
    await run()
    return undefined
  } catch (thrown) {
    if (thrown instanceof SandboxError) return thrown
    throw thrown
  }
}
