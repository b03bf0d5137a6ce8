import { pbkdf2Sync } from 'node:crypto'
import t from 'tap'
import {
  createClientFinal,
  createClientFirst,
  type DeriveKeys,
  deriveKeys,
  verifyServerFinal,
} from '../../src/sasl/scram.js'
import { faultOf, faultOfAsync } from '../support/faults.js'

const NONCE = 'rOprNGfwEbeRWgbNEkqO'
const SALT = 'W22ZaJ0SNY7soEsUEjb6gQ=='
const SERVER_FIRST = `r=${NONCE}%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=${SALT},i=4096`
const SERVER_FINAL = 'v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4='

const derive: DeriveKeys = async (salt, iterations) => deriveKeys(pbkdf2Sync('pencil', salt, iterations, 32, 'sha256'))
const never: DeriveKeys = async () => {
  throw new Error('no key is derived for a message that is refused')
}
const answer = (message: string, from = derive) =>
  createClientFinal(createClientFirst('user', NONCE), from, Buffer.from(message))
const refusal = async (message: string) => (await faultOfAsync(() => answer(message, never)))?.kind

t.test('the example of RFC 7677', async t => {
  t.equal(createClientFirst('user', NONCE).payload.toString(), `n,,n=user,r=${NONCE}`)
  const last = await answer(SERVER_FIRST)
  t.equal(
    last.payload.toString(),
    `c=biws,r=${NONCE}%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=`,
  )
  t.match(verifyServerFinal(last, Buffer.from(SERVER_FINAL)), { iterations: 4096, salt: Buffer.from(SALT, 'base64') })
})

t.test('every = and , of a user name is escaped', async t => {
  t.equal(createClientFirst('a=b,c=,', 'x').bare, 'n=a=3Db=2Cc=3D=2C,r=x')
})

t.test('a server nonce that does not extend the client nonce is refused', async t => {
  for (const nonce of [NONCE, 'fyko+d2lbbFgONRv9qkxdawL', `x${NONCE}`, `${NONCE.toLowerCase()}abc`]) {
    t.equal(await refusal(`r=${nonce},s=${SALT},i=4096`), 'upstream/protocol-error', nonce)
  }
})

t.test('too few and too many iterations are refused', async t => {
  for (const count of ['0', '1', '4095', '1000001', '10000000', '9999999999', '-5000', '5000.5', '1e5', '']) {
    t.equal(await refusal(`r=${NONCE}abc,s=${SALT},i=${count}`), 'upstream/protocol-error', count)
  }
  let derived = 0
  const counting: DeriveKeys = async (salt, iterations) => {
    derived = iterations
    return deriveKeys(Buffer.concat([salt, salt]))
  }
  await answer(`r=${NONCE}abc,s=${SALT},i=1000000`, counting)
  t.equal(derived, 1_000_000, 'the maximum itself is allowed')
})

t.test('a salt must be strict base64', async t => {
  for (const salt of ['', 'W22ZaJ0SNY7soEsUEjb6gQ', 'W22ZaJ0SNY7soEsUEjb6gR==', 'W22 aJ0S', 'W22-aJ0S', '====']) {
    t.equal(await refusal(`r=${NONCE}abc,s=${salt},i=4096`), 'upstream/protocol-error', salt)
  }
})

t.test('a server-first message of another form is refused', async t => {
  for (const message of ['', `s=${SALT},r=${NONCE}abc,i=4096`, `m=1,r=${NONCE}abc,s=${SALT},i=4096`, 'e=other-error']) {
    t.equal(await refusal(message), 'upstream/protocol-error', message)
  }
  t.ok(await answer(`r=${NONCE}abc,s=${SALT},i=4096,x=extension`), 'an optional extension is ignored')
})

t.test('a wrong server signature is refused', async t => {
  const last = await answer(SERVER_FIRST)
  const zeros = Buffer.alloc(32).toString('base64')
  for (const message of [
    '',
    'v=',
    `v=${zeros}`,
    `v=${zeros.slice(4)}`,
    SERVER_FINAL.slice(0, -1),
    `x${SERVER_FINAL}`,
  ]) {
    t.equal(faultOf(() => verifyServerFinal(last, Buffer.from(message)))?.kind, 'upstream/protocol-error', message)
  }
})

t.test('an error of the server is an authentication failure', async t => {
  const last = await answer(SERVER_FIRST)
  const fault = faultOf(() => verifyServerFinal(last, Buffer.from('e=invalid-proof')))
  t.match(fault, { kind: 'upstream/authentication-failed', facts: { error: 'invalid-proof' } })
})
