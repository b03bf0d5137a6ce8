import t from 'tap'
import { parseArn } from '../../src/identity/arn.js'
import { findNearestMiss } from '../../src/users/nearestMiss.js'
import { compileRules } from '../../src/users/rules.js'

const A = '123456789012'
const B = '210987654321'

const findMiss = (text: string, ...arns: string[]) => {
  const { rules, problems } = compileRules(arns.map(arn => ({ arn, roles: ['read@app'] })))
  t.same(problems, [])
  const principal = parseArn(text)
  if (!principal) throw new Error(text)
  return findNearestMiss(
    principal,
    rules.all.map(rule => ({
      label: `rule ${rule.decidedBy.rule}`,
      description: rule.description,
      arn: rule.arn,
      matches: canonical => rules.matchesRule(rule, canonical),
    })),
  )
}

t.test('the nearest miss names the candidate, the principal and the difference', async t => {
  t.equal(
    findMiss(`arn:aws:sts::${A}:assumed-role/app/any`, `arn:aws:iam::${B}:role/prod/app`),
    `rule 1 names role/prod/app; this principal, role/app, has another account, ${A} instead of ${B}`,
  )
  for (const [text, arn, difference] of [
    [`arn:aws:iam::${A}:role/app`, `arn:aws-cn:iam::${A}:role/app`, /another partition, aws instead of aws-cn/],
    [`arn:aws:iam::${A}:role/app`, `arn:aws-cn:iam::${B}:role/app`, /another account and partition/],
    [`arn:aws:iam::${A}:role/app-1`, `arn:aws:iam::${B}:role/app-*`, /names role\/app-\*.*another account/],
    [`arn:aws:iam::${A}:user/alice`, `arn:aws:iam::${A}:user/Alice`, /differs in upper and lower case/],
    [`arn:aws:iam::${A}:user/alice`, `arn:aws:iam::${A}:user/team/alice`, /another path/],
    [`arn:aws:iam::${A}:user/app`, `arn:aws:iam::${A}:role/app`, /is a user$/],
    [`arn:aws:sts::${A}:assumed-role/app/any`, `arn:aws:iam::${A}:user/app`, /is a role$/],
    [`arn:aws:iam::${A}:role/orders-api`, `arn:aws:iam::${A}:role/order-api`, /similar name/],
  ] as const) {
    t.match(findMiss(text, arn), difference, text)
  }
})

t.test('another permission set is a difference', async t => {
  const { rules } = compileRules([{ sso: { permissionSet: 'Admin', account: A }, roles: ['read@app'] }])
  const [rule] = rules.all
  const principal = parseArn(`arn:aws:sts::${A}:assumed-role/AWSReservedSSO_Admin_ReadOnly_0123456789abcdef/ann`)
  if (!rule || !principal) throw new Error('neither rule nor principal')
  const candidate = { label: 'rule 1', description: rule.description, arn: rule.arn, matches: () => false }
  t.match(
    findNearestMiss(principal, [candidate]),
    /^rule 1 names permission set Admin of account 123456789012; .* has another permission set, Admin_ReadOnly$/,
  )
})

t.test('the nearest of several candidates is reported, or none if none is near', async t => {
  const text = `arn:aws:iam::${A}:role/app`
  t.match(findMiss(text, `arn:aws:iam::${A}:role/apps`, `arn:aws:iam::${B}:role/app`), /^rule 2 .*another account/)
  t.equal(findMiss(text, `arn:aws:iam::${B}:role/other`, `arn:aws:iam::${A}:user/zoe`), undefined)
  t.equal(findMiss(text), undefined)
})
