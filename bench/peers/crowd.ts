/** A crowd in a process of its own: see crowd.ts. */
import { crowd } from '../crowd.js'
import { answers } from './answer.js'

answers({}, { crowd })
