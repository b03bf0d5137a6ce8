/** The built modules of the proxy that a test in the same process starts it with. */
export { loadWithPolicy } from '../../dist/app/policy.js'
export { startProxy } from '../../dist/app/proxy.js'
export { Fault } from '../../dist/errors.js'
export { createLog } from '../../dist/log.js'
