import t from 'tap'
import { matchesPermissionSets } from '../../src/users/permissionSets.js'

t.test('a pattern that some name of a permission set fits is recognized', async t => {
  for (const pattern of [
    'AWSReserved*Admin_*',
    'AWSReservedSSO_Admin_*',
    'AWSReservedSSO_*',
    'AWSReservedSSO_*_0123456789abcdef',
    'AWSReservedSSO_Admin_0123456789abcde*',
    'AWSReservedSSO_A*n_*',
    'AWS*Admin_*',
    'A*',
    '*',
    '*_Admin_*',
    '*SSO_Admin*',
    '*Admin*0',
    '*a',
    'AWSReservedSSO_Admin_*_*',
  ]) {
    t.equal(matchesPermissionSets(pattern), true, pattern)
  }
})

t.test('a pattern that no name of a permission set fits is not', async t => {
  for (const pattern of [
    'orders-*',
    'App*',
    'AWSService*',
    'awsreserved*',
    'AWSReservedSSO*x',
    '*-read',
    'a*b*c',
    'AWSReservedSSO_Admin',
    `AWSReservedSSO_${'x'.repeat(33)}*`,
    'AWSReservedSSO_*-0123456789abcdef',
    'AWSReservedSSO_*0123456789abcdef0123456789abcdef0123456789abcdef0123',
  ]) {
    t.equal(matchesPermissionSets(pattern), false, pattern)
  }
})
