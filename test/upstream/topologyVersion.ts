import { ObjectId } from 'bson'
import t from 'tap'
import { isNewTopologyVersion, readTopologyVersion } from '../../src/upstream/topologyVersion.js'
import { memberHello } from '../support/scriptedUpstream.js'

t.test('another process or a higher counter is new', async t => {
  const version = readTopologyVersion(memberHello())
  if (!version) throw new Error('no topologyVersion')
  const { processId, counter } = version
  t.equal(isNewTopologyVersion(version, version), false)
  t.equal(isNewTopologyVersion(version, { processId, counter: counter.sub(1) }), true)
  t.equal(isNewTopologyVersion(version, { processId, counter: counter.add(1) }), false)
  t.equal(isNewTopologyVersion(version, { processId: new ObjectId(), counter: counter.add(1) }), true)
  t.equal(isNewTopologyVersion(undefined, version), true)
  t.equal(readTopologyVersion({}), undefined)
})
