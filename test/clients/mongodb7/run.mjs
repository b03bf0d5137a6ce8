/** Does the task on stdin with this folder's version of the driver. */
import * as mongodb from 'mongodb'
import { run } from '../task.mjs'

await run(mongodb)
