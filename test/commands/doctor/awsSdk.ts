import { readFileSync } from 'node:fs'
import t from 'tap'
import { type AwsSdk, importPackage, loadAwsSdk, OPTIONAL_PACKAGES } from '../../../src/commands/doctor/awsSdk.js'
import { Secret } from '../../../src/log.js'
import { alice, type Credentials, challenge, date, orders, signAsDriver } from '../../support/proofs.js'

const keysOf = ({ accessKeyId, secretAccessKey, sessionToken }: Credentials) => ({
  accessKeyId,
  secretAccessKey: new Secret(secretAccessKey),
  sessionToken: sessionToken === undefined ? undefined : new Secret(sessionToken),
})

t.test('a proof is the one that a driver makes', async t => {
  const { sign } = (await loadAwsSdk(importPackage)) as AwsSdk
  const hosts = ['sts.eu-west-1.amazonaws.com', 'sts.amazonaws.com']
  for (const credentials of [alice, orders]) {
    for (const host of hosts) {
      const to = { ...challenge, host }
      const proof = await sign(keysOf(credentials), to, date)
      const expected = await signAsDriver(credentials, to)
      const compact = (text: string) => text.replaceAll(', ', ',')
      t.same({ ...proof, a: compact(proof.a) }, { ...expected, a: compact(expected.a) })
    }
  }
})

t.test('a package that is not installed is named with its version', async t => {
  const { optionalDependencies } = JSON.parse(readFileSync(new URL('../../../package.json', import.meta.url), 'utf8'))
  t.match(optionalDependencies, OPTIONAL_PACKAGES)
  const missing = Object.assign(new Error('not found'), { code: 'ERR_MODULE_NOT_FOUND' })
  t.match(await loadAwsSdk(() => Promise.reject(missing)), {
    install: `npm install @aws-sdk/credential-providers@${optionalDependencies['@aws-sdk/credential-providers']}`,
  })
  await t.rejects(
    loadAwsSdk(() => Promise.reject(new Error('broken'))),
    /broken/,
  )
})

t.test('an error of the chain, and a chain that never answers, are evidence', async t => {
  const load = (provide: () => Promise<unknown>) => () => Promise.resolve({ fromNodeProviderChain: () => provide })
  const find = async (provide: () => Promise<unknown>) =>
    ((await loadAwsSdk(load(provide))) as AwsSdk).findCredentials(20)
  t.same(await find(() => Promise.reject(new TypeError('x'))), { is: 'failed', name: 'TypeError', message: 'x' })
  t.same(await find(() => new Promise(() => {})), { is: 'timeout', ms: 20 })
  const found = { accessKeyId: 'A', secretAccessKey: 'S', expiration: new Date(5), $source: { CREDENTIALS_HTTP: 'z' } }
  t.match(await find(async () => found), { is: 'found', sources: ['CREDENTIALS_HTTP'], expiration: 5 })
})
