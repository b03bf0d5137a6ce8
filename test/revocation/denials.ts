import t from 'tap'
import { createDenyList, type DenialSubject, formatDenial, parseDenial } from '../../src/revocation/denials.js'
import { formatDenyFile, parseDenyFile } from '../../src/revocation/denyFile.js'

const KEY = 'ASIAIOSFODNN7EXAMPLE'
const pod: DenialSubject = {
  canonical: 'arn:aws:iam::123456789012:role/orders-api',
  kind: 'assumed-role',
  partition: 'aws',
  account: '123456789012',
  name: 'orders-api',
  principalId: 'AROAIOSFODNN7EXAMPLE',
  session: 'pod-7',
}
const another: DenialSubject = {
  ...pod,
  canonical: 'arn:aws:iam::123456789012:role/other',
  name: 'other',
  principalId: 'AROAOTHEROTHEROTHER',
  account: '999999999999',
  session: 'pod-8',
}

const listOf = (text: string) => parseDenyFile(`${text}\n...\n`, 'deny.yaml')
const denied = (entry: unknown, principal = pod, key = KEY, now = 0) => {
  const read = parseDenial(entry)
  if (typeof read === 'string') throw new Error(read)
  return createDenyList([read]).find(principal, key, now)
}

t.test('each kind of denial matches its principal in every spelling, and no other', async t => {
  for (const entry of [
    'arn:aws:iam::123456789012:role/orders-api',
    'arn:aws:iam::123456789012:role/team/orders-api',
    'arn:aws:sts::123456789012:assumed-role/orders-api/*',
    'arn:aws:sts::123456789012:assumed-role/orders-api',
    'arn:aws:sts::123456789012:assumed-role/orders-api/pod-7',
    'AROAIOSFODNN7EXAMPLE',
    KEY,
    '123456789012',
    { arn: 'arn:aws:iam::123456789012:role/orders-api' },
    { session: 'arn:aws:sts::123456789012:assumed-role/orders-api/pod-7', why: 'ticket 4711' },
    { principalId: 'AROAIOSFODNN7EXAMPLE' },
    { accessKey: KEY },
    { account: '123456789012' },
  ]) {
    t.ok(denied(entry), JSON.stringify(entry))
    t.notOk(denied(entry, another, 'ASIAANOTHERANOTHER00'), JSON.stringify(entry))
  }
})

t.test('a denied session matches neither other sessions nor the same session name of another role', async t => {
  const entry = 'arn:aws:sts::123456789012:assumed-role/orders-api/pod-7'
  t.notOk(denied(entry, { ...pod, session: 'pod-70' }))
  t.notOk(denied(entry, { ...pod, session: 'POD-7' }))
  t.notOk(denied(entry, { ...pod, name: 'other' }))
  t.notOk(denied(entry, { ...pod, partition: 'aws-cn' }))
})

t.test(
  'an ARN is matched regardless of case and path, since AWS has no two principals that differ only in them',
  async t => {
    const user: DenialSubject = {
      ...pod,
      canonical: 'arn:aws:iam::123456789012:user/team/Alice',
      kind: 'user',
      name: 'Alice',
      session: undefined,
    }
    for (const arn of [
      user.canonical,
      user.canonical.replace('team/', ''),
      'arn:aws:iam::123456789012:user/old/ALICE',
    ]) {
      t.ok(denied(arn, user), arn)
    }
    t.notOk(denied('arn:aws:iam::123456789012:user/team', user))
    t.notOk(denied('arn:aws:iam::999999999999:user/Alice', user))
    t.ok(denied('arn:aws:iam::123456789012:role/Orders-API'))
  },
)

t.test('before STS only the access key id counts, not the account that it encodes', async t => {
  const list = createDenyList(listOf(`- "123456789012"\n- ${KEY}`).all)
  t.match(list.findByAccessKey(KEY, 0), { kind: 'accessKey' })
  t.equal(list.findByAccessKey('ASIAANOTHERANOTHER00', 0), undefined)
})

t.test('a denial with an end lasts until then, and of two denials the longer one counts', async t => {
  const [short, long] = ['2026-01-01T00:00:00Z', '2026-06-01T00:00:00+02:00'].map(until => ({ accessKey: KEY, until }))
  const at = (time: string) => Date.parse(time)
  t.ok(denied(short, pod, KEY, at('2025-12-31T23:59:59Z')))
  t.notOk(denied(short, pod, KEY, at('2026-01-01T00:00:00Z')))
  const read = [short, long].map(parseDenial).filter(entry => typeof entry !== 'string')
  for (const order of [read, read.toReversed()])
    t.ok(createDenyList(order).findByAccessKey(KEY, at('2026-03-01T00:00:00Z')))
  for (const lists of [
    [read, [parseDenial(KEY)]],
    [[parseDenial(KEY)], read],
  ]) {
    t.ok(
      createDenyList(...(lists as never[])).findByAccessKey(KEY, at('2099-01-01T00:00:00Z')),
      'a denial without an end lasts longest',
    )
  }
  t.equal(createDenyList(read).all.length, 1)
})

t.test('each problem of a file is reported with its line', async t => {
  const { all, problems } = listOf(`# former employees
- ${KEY}
- 123456789012
- nobody
- {arn: "arn:aws:sts::123456789012:assumed-role/orders-api/pod-7"}
- {session: "arn:aws:iam::123456789012:role/orders-api"}
- {principalId: "AROAIOSFODNN7EXAMPLE:pod-7"}
- {accessKey: abc}
- {account: 123456789012}
- {account: "12345"}
- {arn: "arn:aws:iam::*:role/x"}
- {why: nothing else}
- {arn: "arn:aws:iam::123456789012:root", account: "123456789012"}
- {arn: "arn:aws:iam::123456789012:root", until: tomorrow}
- {arn: "arn:aws:iam::123456789012:root", reason: x}
- [1]
-
- "arn:aws:iam::123456789012:group/x"`)
  t.same(all, [{ kind: 'accessKey', value: KEY }])
  t.same(problems, [
    'YAML reads this as a number and drops leading zeros; put it in quotes (from deny.yaml:3:3)',
    'must be an ARN, a principal id, an access key id, or an account of 12 digits (from deny.yaml:4:3)',
    'arn: names a single session; write session, or name its role (from deny.yaml:5:3)',
    'session: must be arn:aws:sts::ACCOUNT:assumed-role/ROLE/SESSION (from deny.yaml:6:3)',
    'principalId: must be an id like AIDA… or AROA…, without a session name (from deny.yaml:7:3)',
    'accessKey: must be an access key id like AKIA… or ASIA… (from deny.yaml:8:3)',
    'account: YAML reads this as a number and drops leading zeros; put it in quotes (from deny.yaml:9:3)',
    'account: must be an account of 12 digits (from deny.yaml:10:3)',
    'arn: must be the full ARN of a user, role, assumed-role, federated-user or root (from deny.yaml:11:3)',
    'must have exactly one of arn, principalId, accessKey, account, session (from deny.yaml:12:3)',
    'must have exactly one of arn, principalId, accessKey, account, session (from deny.yaml:13:3)',
    'until: must be a time like 2026-12-24T00:00:00Z (from deny.yaml:14:3)',
    'has an unknown key, a text of 6 characters (from deny.yaml:15:3)',
    'must be an ARN, id, access key or account, or a mapping with one (from deny.yaml:16:3)',
    'must be an ARN, id, access key or account, or a mapping with one (from deny.yaml:17:2)',
    'arn: must be the full ARN of a user, role, assumed-role, federated-user or root (from deny.yaml:18:3)',
  ])
})

t.test('an entry with a missing blank is reported with the name before the colon', async t => {
  const missing = 'a blank is missing after the colon'
  for (const [entry, name] of [
    ['account:123456789012', 'account'],
    [`accessKey:${KEY}`, 'accessKey'],
    ['session:arn:aws:sts::123456789012:assumed-role/orders-api/pod-7', 'session'],
    ['arn:arn:aws:iam::123456789012:role/orders-api', 'arn'],
    ['{account:"123456789012"}', 'account'],
  ] as const) {
    t.same(listOf(`- ${entry}`).problems, [`${name}: ${missing} (from deny.yaml:1:3)`], entry)
  }
})

t.test('a file that is cut anywhere is a problem', async t => {
  const whole = `- ${KEY}\n- arn: arn:aws:iam::123456789012:role/orders-api\n  why: left\n- "123456789012"\n...\n`
  t.equal(parseDenyFile(whole, 'deny.yaml').all.length, 3)
  t.same(parseDenyFile(whole.trimEnd(), 'deny.yaml').problems, [], 'the final line end is optional')
  for (let length = 0; length < whole.length - 1; length++) {
    const { all, problems } = parseDenyFile(whole.slice(0, length), 'deny.yaml')
    t.ok(problems.length > 0 && all.length === 0, `${length}`)
  }
})

t.test('a file without a list is a problem, and a file with an empty list is not', async t => {
  t.same(listOf('[]'), { all: [], problems: [] })
  for (const [text, said] of [
    ['', 'must be a list, at least [] (from deny.yaml)'],
    ['arn: x', 'must be a list, at least [] (from deny.yaml)'],
    ['- "x', 'not valid YAML (from deny.yaml:3:1)'],
    [
      `- accessKey: &a ${KEY}\n  why: *a`,
      'must be an ARN, id, access key or account, or a mapping with one (from deny.yaml:1:3)',
    ],
    [`- &a ${KEY}\n- *a`, 'must be an ARN, id, access key or account, or a mapping with one (from deny.yaml:2:3)'],
  ] as const) {
    t.ok(listOf(text).problems.includes(said), `${text}: ${listOf(text).problems}`)
  }
})

t.test('a written file parses to the same denials', async t => {
  const all = [
    KEY,
    '123456789012',
    {
      session: 'arn:aws:sts::123456789012:assumed-role/orders-api/pod-7',
      why: 'a "b"\n- c',
      until: '2026-12-24T00:00:00Z',
    },
  ]
    .map(parseDenial)
    .filter(entry => typeof entry !== 'string')
  t.equal(all.length, 3)
  t.same(parseDenyFile(formatDenyFile(all), 'x'), { all, problems: [] })
  t.same(parseDenyFile(formatDenyFile([]), 'x'), { all: [], problems: [] })
  t.equal(formatDenial(all[0] as never), `accessKey ${KEY}`)
  t.equal(
    formatDenial({ kind: 'arn', value: 'arn:aws:iam::123456789012:user/eve' }),
    'arn:aws:iam::123456789012:user/eve',
  )
})

t.test('an end outside the years 0 to 9999 is rejected', async t => {
  for (const until of ['9999-12-31T23:59:59-23:59', '0000-01-01T00:00:00+00:01']) {
    t.equal(parseDenial({ accessKey: KEY, until }), 'until: must be between the years 0 and 9999')
  }
  const last = parseDenial({ accessKey: KEY, until: '9999-12-31T23:59:59Z' }) as never
  t.same(parseDenyFile(formatDenyFile([last]), 'x'), { all: [last], problems: [] })
})
