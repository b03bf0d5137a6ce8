import { readFileSync } from 'node:fs'
import t from 'tap'
import { type AddressAdvertiserOptions, createAddressAdvertiser } from '../../src/upstream/advertisedAddress.js'

const cert = readFileSync(new URL('../support/tls/listener.pem', import.meta.url), 'utf8') // localhost, proxy.test
const reached = { localAddress: '10.0.0.7', localPort: 27018 }
const told = (wanted: Partial<AddressAdvertiserOptions>, client = {}) =>
  createAddressAdvertiser({ advertise: undefined, host: undefined, cert: undefined, ...wanted })({
    ...reached,
    ...client,
  })
const advertise = { host: 'mongo.example.com', port: 27017 }

t.test('what is advertised, else where we are bound, else what the client reached', async t => {
  t.equal(told({ advertise, host: '127.0.0.1' }), 'mongo.example.com:27017')
  t.equal(told({ host: '127.0.0.1' }), '127.0.0.1:27018')
  t.equal(told({ host: 'Proxy.Internal' }), 'proxy.internal:27018')
  t.equal(told({}), '10.0.0.7:27018')
  t.equal(told({}, { localAddress: '::ffff:10.0.0.8' }), '10.0.0.8:27018')
  t.equal(told({ host: '::1' }), '[::1]:27018')
})

t.test(
  'a name that the client asked for is echoed where our certificate covers it, with the advertised port',
  async t => {
    t.equal(told({ advertise, cert }, { servername: 'proxy.test' }), 'proxy.test:27017')
    t.equal(told({ advertise, cert }, { servername: 'Proxy.Test' }), 'proxy.test:27017')
    t.equal(told({ host: '127.0.0.1', cert }, { servername: 'proxy.test' }), 'proxy.test:27018')
    for (const servername of ['evil.example.com', 'a.proxy.test', '', false, null, undefined]) {
      t.equal(told({ advertise, cert }, { servername }), 'mongo.example.com:27017', String(servername))
    }
    t.equal(told({ advertise }, { servername: 'proxy.test' }), 'mongo.example.com:27017', 'without a certificate')
  },
)
