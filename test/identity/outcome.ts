import t from 'tap'
import { classifyResponse, measureSkew, withoutEchoedSecrets } from '../../src/identity/outcome.js'
import { validateProof } from '../../src/identity/proof.js'
import { challenge, date, orders, signAsDriver } from '../support/proofs.js'
import { errorXML, identityXML } from '../support/stsReplies.js'

const response = (status: number, text: string, type: unknown = 'text/xml') => ({ status, type, date: undefined, text })

t.test('an identity requires status 200, an XML content type and a valid document', async t => {
  for (const type of [
    'text/xml',
    'text/xml;charset=utf-8',
    'text/xml ; charset=utf-8',
    'application/xml',
    'Text/XML',
  ]) {
    t.equal(classifyResponse(response(200, identityXML(), type), 'aws', true).is, 'identity', type)
  }
  for (const type of [null, 'text/html', 'text/xmlx', 'x text/xml', ['text/xml', 'text/html']]) {
    t.equal(classifyResponse(response(200, identityXML(), type), 'aws', true).is, 'unavailable', `${type}`)
  }
})

t.test('only the first host decides that a key does not exist', async t => {
  const unknownKey = response(403, errorXML('InvalidClientTokenId'))
  t.equal(classifyResponse(unknownKey, 'aws', true).is, 'refused')
  t.match(classifyResponse(unknownKey, 'aws', false), { is: 'unavailable', next: 'first-host' })
})

t.test('a disabled region is a refusal of the first host, and a hint for all others', async t => {
  const disabled = response(403, errorXML('RegionDisabledException'))
  t.match(classifyResponse(disabled, 'aws', true), { is: 'refused', code: 'RegionDisabledException', message: /./ })
  t.match(classifyResponse(disabled, 'aws', false), {
    is: 'unavailable',
    code: 'RegionDisabledException',
    next: 'first-host',
  })
})

t.test('an answer that decides nothing has the code of AWS', async t => {
  t.match(classifyResponse(response(400, errorXML('ValidationError')), 'aws', true), { code: 'ValidationError' })
  t.notOk('code' in classifyResponse(response(413, ''), 'aws', true))
})

t.test('a message is dropped if it repeats a secret of the request', async t => {
  const proof = validateProof(await signAsDriver(orders), challenge, date)
  const refused = { is: 'refused' as const, code: 'X', message: 'The token is expired.' }
  t.equal(withoutEchoedSecrets(refused, proof), refused)
  t.same(withoutEchoedSecrets({ ...refused, message: `token ${orders.sessionToken}` }, proof), {
    is: 'refused',
    code: 'X',
  })
})

t.test('a Date header counts if it has the standard form and is within a day', async t => {
  const now = Date.UTC(2026, 7, 13, 12)
  t.equal(measureSkew('Thu, 13 Aug 2026 12:00:10 GMT', now), 10_500)
  for (const header of [
    undefined,
    ['Thu, 13 Aug 2026 12:00:10 GMT'],
    'Thu, 13 Aug 2026 12:00:10',
    '13 Aug 2026',
    now,
  ]) {
    t.equal(measureSkew(header, now), undefined, `${header}`)
  }
  t.equal(measureSkew('Sat, 15 Aug 2026 12:00:00 GMT', now), undefined)
})
