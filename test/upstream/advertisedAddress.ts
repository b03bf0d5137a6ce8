import { readFileSync } from 'node:fs'
import t from 'tap'
import { type AddressAdvertiserOptions, createAddressAdvertiser } from '../../src/upstream/advertisedAddress.js'

const cert = readFileSync(new URL('../support/tls/listener.pem', import.meta.url), 'utf8') // localhost, proxy.test
const socket = { localAddress: '10.0.0.7', localPort: 27018 }
const addressFor = (options: Partial<AddressAdvertiserOptions>, client = {}) =>
  createAddressAdvertiser({ advertise: undefined, host: undefined, cert: undefined, ...options })({
    ...socket,
    ...client,
  })
const advertise = { host: 'mongo.example.com', port: 27017 }

t.test(
  'the address is listen.advertise, otherwise the bound address, otherwise the one that the client socket',
  async t => {
    t.equal(addressFor({ advertise, host: '127.0.0.1' }), 'mongo.example.com:27017')
    t.equal(addressFor({ host: '127.0.0.1' }), '127.0.0.1:27018')
    t.equal(addressFor({ host: 'Proxy.Internal' }), 'proxy.internal:27018')
    t.equal(addressFor({}), '10.0.0.7:27018')
    t.equal(addressFor({}, { localAddress: '::ffff:10.0.0.8' }), '10.0.0.8:27018')
    t.equal(addressFor({ host: '::1' }), '[::1]:27018')
  },
)

t.test('an SNI that the certificate covers replaces the host name and keeps the advertised port', async t => {
  t.equal(addressFor({ advertise, cert }, { servername: 'proxy.test' }), 'proxy.test:27017')
  t.equal(addressFor({ advertise, cert }, { servername: 'Proxy.Test' }), 'proxy.test:27017')
  t.equal(addressFor({ host: '127.0.0.1', cert }, { servername: 'proxy.test' }), 'proxy.test:27018')
  for (const servername of ['evil.example.com', 'a.proxy.test', '', false, null, undefined]) {
    t.equal(addressFor({ advertise, cert }, { servername }), 'mongo.example.com:27017', String(servername))
  }
  t.equal(addressFor({ advertise }, { servername: 'proxy.test' }), 'mongo.example.com:27017', 'without a certificate')
})
