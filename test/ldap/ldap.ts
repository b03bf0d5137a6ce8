import type { Document } from 'bson'
import t from 'tap'
import { evaluateLdap, queryLdapSettings } from '../../src/ldap/ldap.js'

const denied = { ok: 0, code: 13, codeName: 'Unauthorized' }
const community = { modules: [], version: '8.0.4', ok: 1 }
const enterprise = { modules: ['enterprise'], version: '8.0.4', ok: 1 }
const percona = { modules: [], psmdbVersion: '8.0.4-1', ok: 1 }
const ferret = { modules: [], ferretdbVersion: 'v1.24.2', ok: 1 }
const plain = { parsed: { net: { port: 27017 } }, ok: 1 }
const mechanisms = { authenticationMechanisms: ['SCRAM-SHA-256'], ok: 1 }
const authz = (queryTemplate: unknown) => ({
  parsed: { security: { ldap: { servers: 'ldap', authz: { queryTemplate } } } },
  ok: 1,
})
const router = { parsed: { sharding: { configDB: 'c/h:1' } }, ok: 1 }

type Row = [string, Document | undefined, Document | undefined, Document | undefined, 'on' | 'off' | 'unknown', RegExp]
const table: Row[] = [
  ['Community, which needs no privileges', community, denied, denied, 'off', /edition/],
  ['FerretDB', ferret, undefined, undefined, 'off', /FerretDB/],
  ['FerretDB 2', { ferretdb: { version: 'v2' }, ok: 1 }, undefined, undefined, 'off', /FerretDB/],
  ['Enterprise without LDAP', enterprise, plain, mechanisms, 'off', /no query template/],
  ['Enterprise with LDAP for passwords only', enterprise, authz(undefined), mechanisms, 'off', /no query template/],
  ['Enterprise with the template', enterprise, authz('{USER}?memberOf?base'), mechanisms, 'on', /security\.ldap/],
  ['the template, although the rest is denied', denied, authz('{USER}'), denied, 'on', /security\.ldap/],
  ['an edition that lies', community, authz('{USER}'), mechanisms, 'on', /security\.ldap/],
  ['Percona, set while it runs', percona, plain, { ...mechanisms, ldapAuthzQueryTemplate: '{USER}' }, 'on', /Authz/],
  ['an older Percona', percona, plain, { ...mechanisms, ldapQueryTemplate: '{USER}' }, 'on', /ldapQueryTemplate/],
  ['Percona, switched off', percona, authz(''), { ...mechanisms, ldapAuthzQueryTemplate: '' }, 'off', /no query/],
  ['a template that is not text', percona, authz({ a: 1 }), mechanisms, 'on', /security\.ldap/],
  ['Percona without privileges', percona, denied, denied, 'unknown', /getCmdLineOpts was refused with code 13/],
  ['half of the privileges', percona, plain, denied, 'unknown', /getParameter was refused with code 13/],
  ['the other half', enterprise, denied, mechanisms, 'unknown', /getCmdLineOpts/],
  ['replies of an unknown form', enterprise, { ok: 1 }, mechanisms, 'unknown', /unknown form/],
  ['a server that lists no modules', { version: '8', ok: 1 }, denied, denied, 'unknown', /refused/],
  ['no command was sent', undefined, undefined, undefined, 'unknown', /was not sent/],
  ['a mongos, which never holds the template', enterprise, router, mechanisms, 'unknown', /mongos/],
]
for (const [name, buildInfo, options, parameters, state, why] of table) {
  t.test(`${name}: ${state}`, async t => t.match(evaluateLdap({ buildInfo, options, parameters }), { state, why }))
}

t.test('the three commands are sent one after another', async t => {
  const asked: Document[] = []
  let open = 0
  const answers = await queryLdapSettings(async command => {
    t.equal(open++, 0)
    asked.push(command)
    await Promise.resolve()
    open--
    return { n: asked.length, ok: 1 }
  })
  t.match(asked, [
    { buildInfo: 1 },
    { getCmdLineOpts: 1 },
    { getParameter: 1, authenticationMechanisms: 1, ldapAuthzQueryTemplate: 1, ldapQueryTemplate: 1 },
  ])
  t.equal(Object.keys(asked[2] ?? {})[0], 'getParameter', 'the command comes first')
  t.match(answers, { buildInfo: { n: 1 }, options: { n: 2 }, parameters: { n: 3 } })
})
