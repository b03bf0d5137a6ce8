/** A crowd in a process of its own: see crowd.ts. */
import { crowd } from '../loginBurst.js'
import { answers } from './answer.js'

answers({}, { crowd })
