import t from 'tap'
import { isLoopback, isWildcard } from '../../src/config/hosts.js'

t.test('loopback is localhost and every spelling of a loopback address', async t => {
  for (const host of ['localhost', '127.0.0.1', '127.9.9.9', '::1', '[::1]', '0:0:0:0:0:0:0:1', '::ffff:127.0.0.1']) {
    t.equal(isLoopback(host), true, host)
  }
  const others = ['10.0.0.1', '0.0.0.0', '::', '::2', '127.1', '127.0.0.1.example.com', '127.0.0.999', 'LOCALHOST', '']
  for (const host of others) t.equal(isLoopback(host), false, host)
})

t.test('a wildcard is every spelling of the unspecified address', async t => {
  for (const host of ['0.0.0.0', '::', '[::]', '::0', '0:0:0:0:0:0:0:0']) t.equal(isWildcard(host), true, host)
  for (const host of ['127.0.0.1', '0.0.0.1', '::1', '0', '*', 'localhost', '']) t.equal(isWildcard(host), false, host)
})
