import t from 'tap'
import { findBuiltInRole, isAllowed, listBuiltInRoles, type Privilege } from '../../sandbox/src/mongo/roles.js'
import { findLostRoles } from '../../src/users/lostRoles.js'
import type { Role } from '../../src/users/match.js'
import { formatRole, parseRole } from '../../src/users/roles.js'

const rolesOf = (text: string): Role[] => text.split(' ').flatMap(one => (one === '' ? [] : [parseRole(one) as Role]))
const lostBy = (before: string, after: string) =>
  findLostRoles(rolesOf(before), rolesOf(after)).map(formatRole).join(' ')

t.test('a role is lost if the new roles do not contain all of its rights', async t => {
  for (const [before, after, lost] of [
    ['readWrite@app', 'read@app', 'readWrite@app'],
    ['read@a', 'read@b', 'read@a'],
    ['read@a read@b', 'read@b', 'read@a'],
    ['readWrite@app', '', 'readWrite@app'],
    ['readWrite@app', 'readWrite@app.orders', 'readWrite@app'],
    ['readWrite@app.orders', 'read@app.orders', 'readWrite@app.orders'],
    ['readWrite@app.orders', 'readWrite@app.people', 'readWrite@app.orders'],
    ['readWrite@app.orders', 'read@app', 'readWrite@app.orders'],
    ['read@app.orders', 'read@other.orders', 'read@app.orders'],
    ['readWrite@app', 'dbAdmin@app', 'readWrite@app'],
    ['dbAdmin@app', 'readWrite@app', 'dbAdmin@app'],
    ['dbOwner@app', 'readWrite@app dbAdmin@app', 'dbOwner@app'],
    ['readAnyDatabase@admin', 'read@app', 'readAnyDatabase@admin'],
    ['readWriteAnyDatabase@admin', 'readAnyDatabase@admin', 'readWriteAnyDatabase@admin'],
    ['read@local', 'readAnyDatabase@admin', 'read@local'],
    ['read@config', 'readAnyDatabase@admin', 'read@config'],
    ['root@admin', 'readWriteAnyDatabase@admin clusterAdmin@admin', 'root@admin'],
    ['clusterAdmin@admin', 'clusterManager@admin clusterMonitor@admin hostManager@admin', 'clusterAdmin@admin'],
    ['__system@admin', 'root@admin', '__system@admin'],
    ['reports@app', 'read@app', 'reports@app'],
    ['reports@app', 'reports@other', 'reports@app'],
    ['reports@app readWrite@app', 'readWrite@app', 'reports@app'],
    ['readAnyDatabase@app', 'read@app', 'readAnyDatabase@app'],
    ['constructor@app', 'read@app', 'constructor@app'],
  ] as const) {
    t.equal(lostBy(before, after), lost, `${before} to ${after}`)
  }
})

t.test('a role that wider roles replace is not lost', async t => {
  for (const [before, after] of [
    ['', 'read@app'],
    ['read@app', 'read@app'],
    ['read@a readWrite@b', 'readWrite@b read@a'],
    ['read@app', 'readWrite@app'],
    ['readWrite@app', 'dbOwner@app'],
    ['dbOwner@app', 'readWrite@app dbAdmin@app userAdmin@app'],
    ['read@app.orders', 'read@app'],
    ['read@app.orders', 'readWrite@app.orders'],
    ['readWrite@app.orders', 'dbOwner@app'],
    ['read@app.orders', 'readAnyDatabase@admin'],
    ['read@admin', 'readAnyDatabase@admin'],
    ['readAnyDatabase@admin', 'readWriteAnyDatabase@admin'],
    ['readWrite@app dbAdmin@app', 'readWriteAnyDatabase@admin dbAdminAnyDatabase@admin'],
    ['clusterMonitor@admin', 'clusterAdmin@admin'],
    ['clusterAdmin@admin backup@admin userAdminAnyDatabase@admin', 'root@admin'],
    ['read@local reports@app root@admin', '__system@admin'],
    ['reports@app', 'reports@app read@app'],
  ] as const) {
    t.equal(lostBy(before, after), '', `${before} to ${after}`)
  }
})

t.test('a built-in role that is not lost has no privilege that the wider role lacks', async t => {
  const names = ['app', 'admin'].flatMap(db => listBuiltInRoles(db).map(role => ({ role, db })))
  // The sandbox leaves system collections out of its wider roles, and some privileges out of root. MongoDB does not.
  const isSystemCollection = ({ resource }: Privilege) =>
    'collection' in resource && resource.collection.startsWith('system.')
  let covered = 0
  for (const before of names) {
    for (const after of names) {
      if (after.role === 'root' || findLostRoles([before], [after]).length > 0) continue
      covered += 1
      const held = findBuiltInRole(after) ?? []
      for (const privilege of findBuiltInRole(before) ?? []) {
        if (isSystemCollection(privilege) || 'anyResource' in privilege.resource) continue
        const missing = [...privilege.actions].filter(action => !isAllowed(held, action, privilege.resource))
        t.same(missing, [], `${formatRole(before)} to ${formatRole(after)}`)
      }
    }
  }
  t.ok(covered > names.length, 'some roles contain others')
})
