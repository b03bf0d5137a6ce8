import t from 'tap'
import { didYouMean, nearestName } from '../../src/config/nearest.js'

const names = ['host', 'port', 'certFile', 'perAddress']

t.test('a slip of two letters is understood, and case and dashes are none', async t => {
  for (const [typed, meant] of [
    ['prot', 'port'],
    ['hosts', 'host'],
    ['cert_file', 'certFile'],
    ['CERTFILE', 'certFile'],
    ['per-adress', 'perAddress'],
  ] as const) {
    t.equal(nearestName(typed, names), meant, typed)
  }
})

t.test('what is too far from everything gets no suggestion', async t => {
  for (const typed of ['', 'x', 'certificate', 'ab']) t.equal(nearestName(typed, names), undefined, typed)
  t.equal(didYouMean('x', names), '')
  t.equal(didYouMean('hsot', names), '; did you mean host?')
})
