/** Runs the task on stdin with the version of the driver in this folder. */
import * as mongodb from 'mongodb'
import { run } from '../task.mjs'

await run(mongodb)
