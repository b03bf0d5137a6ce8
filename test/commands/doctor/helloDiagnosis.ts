import t from 'tap'
import {
  diagnoseAdvertised,
  diagnoseHello,
  diagnoseMechanism,
  diagnoseReplicaSet,
  findOtherAddress,
  type HelloFacts,
} from '../../../src/commands/doctor/helloDiagnosis.js'

const single: HelloFacts = { setName: undefined, advertised: undefined, isWritable: true, isMongos: false }
const set: HelloFacts = { ...single, setName: 'rs0', advertised: 'mongo.test:27017' }
const given = (replicaSet?: string, isDirect = false) => ({ replicaSet, isDirect, address: 'mongo.test:27017' })

t.test('a server without a primary is a warning', async t => {
  t.match(diagnoseHello(set), { level: 'ok', text: /primary of rs0/ })
  t.match(diagnoseHello(single), { level: 'ok', text: /single server/ })
  t.match(diagnoseHello({ ...set, isWritable: false }), { level: 'warning', text: /no primary/ })
})

t.test('replicaSet must be the name of the set, and absent for a single server', async t => {
  t.equal(diagnoseReplicaSet(set, given('rs0')).level, 'ok')
  t.equal(diagnoseReplicaSet(single, given()).level, 'ok')
  t.match(diagnoseReplicaSet(set, given('rs1')), { level: 'failure', text: /presents rs0.*write replicaSet=rs0/ })
  t.match(diagnoseReplicaSet(single, given('rs0')), { level: 'failure', text: /write directConnection=true instead/ })
  t.match(diagnoseReplicaSet(set, given()), { level: 'warning', text: /names no set; write replicaSet=rs0/ })
  t.match(diagnoseReplicaSet(set, given(undefined, true)), { level: 'warning', text: /directConnection=true/ })
})

t.test('drivers of a set connect to the address in hello, which must be reachable', async t => {
  t.equal(findOtherAddress(set, given('rs0')), undefined)
  t.equal(findOtherAddress(set, { ...given('rs0'), address: '10.0.0.1:27017' }), 'mongo.test:27017')
  t.equal(findOtherAddress(set, { ...given(undefined, true), address: '10.0.0.1:27017' }), undefined)
  t.equal(diagnoseAdvertised('a:1', undefined).level, 'ok')
  t.match(diagnoseAdvertised('a:1', 'nothing listens there'), { level: 'failure', text: /correct listen\.advertise/ })
})

t.test('a server without MONGODB-AWS is probably MongoDB itself', async t => {
  t.equal(diagnoseMechanism({ host: 'sts.eu-west-1.amazonaws.com' }).level, 'ok')
  t.match(diagnoseMechanism({ code: 334, codeName: 'MechanismUnavailable', message: 'x' }), {
    level: 'failure',
    text: /use the address of the proxy/,
  })
  t.match(diagnoseMechanism({ code: 262, codeName: 'ExceededTimeLimit', message: 'all session slots' }), {
    text: /262 ExceededTimeLimit: all session slots/,
  })
  t.match(diagnoseMechanism({ error: 'ECONNRESET' }), { text: /ECONNRESET/ })
})
