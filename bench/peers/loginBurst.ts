/** Runs bursts of logins in a process of their own. */
import { runLoginBurst } from '../loginBurst.js'
import { answerCalls } from './answer.js'

answerCalls({}, { runLoginBurst })
