import t from 'tap'
import { validateProof } from '../../src/identity/proof.js'
import { findRemedy } from '../../src/identity/remedy.js'
import { alice, challenge, date, orders, signAsDriver } from '../support/proofs.js'

const TOKEN = `IQoJb3JpZ2luX2Vj${'Abc+'.repeat(40)}`

async function signFor(host: string, sessionToken: string | undefined) {
  const to = { ...challenge, host }
  const credentials = sessionToken === undefined ? alice : { ...orders, sessionToken }
  return validateProof(await signAsDriver(credentials, to), to, date)
}

t.test('the remedy depends on the code, the host and the token', async t => {
  for (const [code, host, token, remedy] of [
    [
      'AccessDenied',
      'sts.eu-west-1.amazonaws.com',
      undefined,
      /endpoint policy of the VPC endpoint through which the proxy/,
    ],
    [
      'RegionDisabledException',
      'sts.af-south-1.amazonaws.com',
      undefined,
      /^Enable the region af-south-1 in this AWS account/,
    ],
    ['InvalidClientTokenId', 'sts.af-south-1.amazonaws.com', TOKEN, /version 1, which is not valid in af-south-1/],
    ['InvalidClientTokenId', 'sts.eu-south-2.api.aws', TOKEN, /version 1, which is not valid in eu-south-2/],
    [
      'InvalidClientTokenId',
      'sts.eu-west-1.amazonaws.com',
      `"${TOKEN}"`,
      /looks damaged: it begins or ends with a quotation/,
    ],
    ['InvalidClientTokenId', 'sts.af-south-1.amazonaws.com', TOKEN.slice(0, 70), /looks damaged: it has 70 characters/],
    ['InvalidClientTokenId', 'sts.eu-west-1.amazonaws.com', TOKEN, undefined],
    ['InvalidClientTokenId', 'sts.amazonaws.com', TOKEN, undefined],
    ['InvalidClientTokenId', 'sts.us-gov-west-1.amazonaws.com', TOKEN, undefined],
    ['InvalidClientTokenId', 'sts.example.test', TOKEN, undefined],
    ['InvalidClientTokenId', 'sts.af-south-1.amazonaws.com', undefined, undefined],
    ['ExpiredToken', 'sts.af-south-1.amazonaws.com', TOKEN, undefined],
    ['constructor', 'sts.af-south-1.amazonaws.com', TOKEN, undefined],
    [undefined, 'sts.af-south-1.amazonaws.com', TOKEN, undefined],
  ] as const) {
    const found = findRemedy(code, await signFor(host, token))
    if (remedy === undefined) t.equal(found, undefined, `${code} ${host}`)
    else t.match(found, remedy)
    t.notMatch(found ?? '', 'Abc')
  }
})
