/** What a call throws, as a fault; undefined where it throws nothing. */
import { Fault } from '../../src/errors.js'

export function faultOf(run: () => unknown): Fault | undefined {
  try {
    run()
    return undefined
  } catch (thrown) {
    return Fault.from(thrown)
  }
}

export async function faultOfAsync(run: () => Promise<unknown>): Promise<Fault | undefined> {
  try {
    await run()
    return undefined
  } catch (thrown) {
    return Fault.from(thrown)
  }
}
