import t from 'tap'
import { didYouMean, nearestName } from '../../src/config/nearest.js'

const names = ['host', 'port', 'certFile', 'perAddress']

t.test('a name with at most two wrong letters gets a suggestion; case and dashes do not count', async t => {
  for (const [typed, expected] of [
    ['prot', 'port'],
    ['hosts', 'host'],
    ['cert_file', 'certFile'],
    ['CERTFILE', 'certFile'],
    ['per-adress', 'perAddress'],
  ] as const) {
    t.equal(nearestName(typed, names), expected, typed)
  }
})

t.test('a name that is too far from all candidates gets no suggestion', async t => {
  for (const typed of ['', 'x', 'certificate', 'ab']) t.equal(nearestName(typed, names), undefined, typed)
  t.equal(didYouMean('x', names), '')
  t.equal(didYouMean('hsot', names), '; did you mean host?')
})
