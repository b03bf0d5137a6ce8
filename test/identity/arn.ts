import t from 'tap'
import { canonicalizeArn, parseArn } from '../../src/identity/arn.js'
import { partitions } from '../../src/identity/partition.js'

const A = '123456789012'
const canonicalOf = (text: string) => {
  const arn = parseArn(text)
  return arn && canonicalizeArn(arn)
}

t.test('an ARN is parsed into its parts', async t => {
  t.same(parseArn(`arn:aws:iam::${A}:user/alice`), {
    partition: 'aws',
    account: A,
    kind: 'user',
    path: '/',
    name: 'alice',
    session: undefined,
  })
  t.same(parseArn(`arn:aws-cn:iam::${A}:user/div/a:b/al+ice@x,=.-_`), {
    partition: 'aws-cn',
    account: A,
    kind: 'user',
    path: '/div/a:b/',
    name: 'al+ice@x,=.-_',
    session: undefined,
  })
  t.match(parseArn(`arn:aws:iam::${A}:role/service-role/x/R`), { kind: 'role', path: '/service-role/x/', name: 'R' })
  t.match(parseArn(`arn:aws:sts::${A}:assumed-role/R/s@x.com`), { kind: 'assumed-role', name: 'R', session: 's@x.com' })
  t.match(parseArn(`arn:aws:sts::${A}:federated-user/bob`), { kind: 'federated-user', name: 'bob' })
  t.match(parseArn(`arn:aws:iam::${A}:root`), { kind: 'root', name: 'root', account: A })
})

t.test('a principal has one canonical ARN, in every partition', async t => {
  t.equal(partitions.size, 8)
  for (const p of partitions) {
    for (const [text, canonical] of [
      [`arn:${p}:iam::${A}:user/alice`, `arn:${p}:iam::${A}:user/alice`],
      [`arn:${p}:iam::${A}:user/a/b/alice`, `arn:${p}:iam::${A}:user/a/b/alice`],
      [`arn:${p}:iam::${A}:role/R`, `arn:${p}:iam::${A}:role/R`],
      [`arn:${p}:iam::${A}:role/a/b/R`, `arn:${p}:iam::${A}:role/R`],
      [`arn:${p}:sts::${A}:assumed-role/R`, `arn:${p}:iam::${A}:role/R`],
      [`arn:${p}:sts::${A}:assumed-role/R/*`, `arn:${p}:iam::${A}:role/R`],
      [`arn:${p}:sts::${A}:assumed-role/R/admin`, `arn:${p}:iam::${A}:role/R`],
      [`arn:${p}:sts::${A}:federated-user/bob`, `arn:${p}:sts::${A}:federated-user/bob`],
      [`arn:${p}:iam::${A}:root`, `arn:${p}:iam::${A}:root`],
    ] as const) {
      t.equal(canonicalOf(text), canonical, text)
    }
  }
})

t.test('case, partition, account, kind and path distinguish principals', async t => {
  const all = [
    `arn:aws:iam::${A}:user/x`,
    `arn:aws:iam::${A}:user/X`,
    `arn:aws:iam::${A}:user/p/x`,
    `arn:aws:iam::${A}:role/x`,
    `arn:aws:iam::210987654321:role/x`,
    `arn:aws-cn:iam::${A}:role/x`,
    `arn:aws:sts::${A}:federated-user/xx`,
    `arn:aws:iam::${A}:root`,
  ]
  t.equal(new Set(all.map(canonicalOf)).size, all.length)
})

t.test('text that is not exactly the ARN of a principal is rejected', async t => {
  for (const text of [
    '',
    'alice',
    `arn:aws:iam::${A}:user/`,
    `arn:aws:iam::${A}:user`,
    `arn:aws:iam::${A}:user/alice/`,
    `arn:aws:iam::${A}:user//`,
    `arn:aws:iam::${A}:user/alice\n`,
    `arn:aws:iam::${A}:user/al ice`,
    `arn:aws:iam::${A}:user/älice`,
    `arn:aws:iam::${A}:user/p\u0000/alice`,
    `arn:aws:iam::${A}:user/${'x'.repeat(65)}`,
    `arn:aws:iam::${A}:user/${'p'.repeat(511)}/x`,
    `arn:aws:iam::${A}:user/${'p/'.repeat(2048)}x`,
    `arn:aws:iam::${A}:group/g`,
    `arn:aws:iam::${A}:User/x`,
    `arn:aws:iam::${A}:rooted`,
    `arn:aws:iam::${A}:root/x`,
    `arn:aws:sts::${A}:user/x`,
    `arn:aws:sts::${A}:role/x`,
    `arn:aws:iam::${A}:assumed-role/R/ss`,
    `arn:aws:sts::${A}:assumed-role/p/R/ss`,
    `arn:aws:sts::${A}:assumed-role/R/s`,
    `arn:aws:sts::${A}:assumed-role/R/`,
    `arn:aws:sts::${A}:assumed-role/R/**`,
    `arn:aws:sts::${A}:assumed-role/*/ss`,
    `arn:aws:sts::${A}:federated-user/x`,
    `arn:aws:s3:::bucket`,
    `arn:aws:iam:us-east-1:${A}:user/x`,
    `arn:aws:iam::12345678901:user/x`,
    `arn:aws:iam::1234567890123:user/x`,
    `arn:aws:iam::*:user/x`,
    'arn:aws:iam:::user/x',
    `arn:aws-moon:iam::${A}:user/x`,
    `arn:*:iam::${A}:user/x`,
    `arn::iam::${A}:user/x`,
    `ARN:aws:iam::${A}:user/x`,
    ` arn:aws:iam::${A}:user/x`,
    `xarn:aws:iam::${A}:user/x`,
  ]) {
    t.equal(parseArn(text), undefined, JSON.stringify(text.slice(0, 80)))
  }
})
