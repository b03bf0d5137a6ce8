/** Faults that tests expect and create. */
import { Fault, type FaultData, type FaultKind } from '../../src/errors.js'

/** Returns the fault that a call throws; undefined if it throws nothing. */
export function faultOf(run: () => unknown): Fault | undefined {
  try {
    run()
    return undefined
  } catch (thrown) {
    return Fault.from(thrown)
  }
}

/** Like `faultOf`, for a promise. */
export async function faultOfAsync(run: () => Promise<unknown>): Promise<Fault | undefined> {
  try {
    await run()
    return undefined
  } catch (thrown) {
    return Fault.from(thrown)
  }
}

const requiredData: Partial<FaultData> = {
  'sts/unavailable': { why: 'no answer' },
  'budget/exhausted': { backoffMS: 1_000 },
  'users/unreadable': { why: 'not readable' },
  'login/denied': { denial: 'account 123456789012' },
  'login/concurrency-limit': { backoffMS: 1_000 },
  'login/signature-limit': { backoffMS: 1_000 },
  'login/principal-limit': { backoffMS: 1_000 },
  'login/session-limit': { backoffMS: 1_000 },
}

/** Creates a fault of any kind, with the data that its kind requires. */
export function createFault(kind: FaultKind, detail?: string): Fault {
  const data = kind in requiredData ? requiredData[kind as keyof FaultData] : {}
  return new Fault(...([kind, detail, data] as ConstructorParameters<typeof Fault>))
}
