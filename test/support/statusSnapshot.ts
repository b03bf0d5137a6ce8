/** A snapshot of a proxy in service, for tests of the status page. */
import type { StatusSnapshot } from '../../src/page/snapshot.js'

export const TIME = Date.parse('2026-03-14T03:12:40Z')
const MINUTE = 60_000
const HOUR = 60 * MINUTE
const DAY = 24 * HOUR
const SAMPLES = 180
const STEP_MS = 5_000
const ago = (ms: number): string => new Date(TIME - ms).toISOString()

/** Between -1 and 1, the same at each run. */
const noise = (index: number): number => {
  const value = Math.sin(index * 12.9898) * 43_758.5453
  return 2 * (value - Math.floor(value)) - 1
}
/** A noisy wave around `level`. */
const wave = (level: number, height: number, period: number): number[] =>
  Array.from({ length: SAMPLES }, (_, index) =>
    Math.max(0, level + height * Math.sin(index / period) + height * 0.35 * noise(index * period)),
  )
/** Zero, and for a few samples more. */
const bursts = (height: number): number[] =>
  zero().map((_, index) => (noise(index) > 0.8 ? height * Math.abs(noise(index * 3)) : 0))
const zero = (): number[] => Array(SAMPLES).fill(0)
const hill = (from: number, length: number, height: number): number[] =>
  zero().map((_, index) => {
    if (index < from || index > from + length) return 0
    return Math.max(0, height * Math.sin((Math.PI * (index - from)) / length) * (1 + 0.12 * noise(index)))
  })
/** One account is throttled, so its logins wait. */
const throttledQueue = hill(138, 60, 46).map(Math.round)

const ORDERS = 'arn:aws:iam::123456789012:role/orders-api'
const BUCKETS = ['123456789012 sts.eu-central-1.amazonaws.com', '210987654321 sts.eu-central-1.amazonaws.com', 'other']

export const snapshot: StatusSnapshot = {
  time: TIME,
  status: {
    version: '0.1.0',
    instance: 'mongo-iam-proxy-7c9f-x2x8m',
    boot: '5d0c6a1f9e42',
    startedAt: ago(9 * DAY),
    ready: true,
    draining: false,
    ldap: 'off',
    upstream: {
      primary: 'mongo-1.example.com:27017',
      members: [
        { address: 'mongo-0.example.com:27017', state: 'secondary' },
        { address: 'mongo-1.example.com:27017', state: 'primary' },
        { address: 'mongo-2.example.com:27017', state: 'unreachable' },
      ],
    },
    sessions: { open: 412, free: 588 },
    denials: { file: 2, admin: 1 },
    unrevokedRoles: 0,
    audit: { failing: false },
    configHash: '9f2b1c',
    logLevel: 'info',
  },
  problems: [
    {
      level: 'error',
      text: 'mongo-2.example.com:27017 has not answered since 03:04:11 UTC.',
      runbook: 'https://example.com/mongo-iam-proxy/docs/errors.md#mongoiamproxymemberdown',
    },
    {
      level: 'warning',
      text: '/etc/mongo-iam-proxy/server.pem (tls.certFile) expires in 12 days.',
      runbook: 'https://example.com/mongo-iam-proxy/docs/errors.md#mongoiamproxycertificateexpiring',
    },
  ],
  config: {
    hash: '9f2b1c7e54d0a8836b1fd7a2c90e4f15',
    appliedAt: TIME - 3 * HOUR,
    rejectedAt: TIME - 26 * HOUR,
    isRejected: false,
  },
  primary: {
    primary: 'mongo-1.example.com:27017',
    since: TIME - 8 * MINUTE,
    elections: 2,
    changes: [
      { at: TIME - 8 * MINUTE, primary: 'mongo-1.example.com:27017', withoutMS: 4_200 },
      { at: TIME - 8 * MINUTE - 4_200 },
      { at: TIME - 4 * DAY, primary: 'mongo-2.example.com:27017', withoutMS: 11_000 },
    ],
  },
  certificates: [
    {
      file: '/etc/mongo-iam-proxy/server.pem',
      role: 'server certificate',
      setting: 'tls.certFile',
      expiresAt: TIME + 12 * DAY,
      daysLeft: 12,
    },
    {
      file: '/etc/mongo-iam-proxy/mongo-ca.pem',
      role: 'CA of MongoDB',
      setting: 'upstream.uri',
      expiresAt: TIME + 1_900 * DAY,
      daysLeft: 1_900,
    },
  ],
  budgets: {
    buckets: [
      { bucket: BUCKETS[0] ?? '', tokens: 83, perSecond: 60, throttles: 0, waiting: 0 },
      { bucket: BUCKETS[1] ?? '', tokens: 0.4, perSecond: 21.5, throttles: 17, waiting: throttledQueue.at(-1) ?? 0 },
      { bucket: BUCKETS[2] ?? '', tokens: null, perSecond: null, throttles: null, waiting: 0 },
    ],
    hosts: [
      { host: 'sts.eu-central-1.amazonaws.com', health: 0.998 },
      { host: 'sts.eu-west-1.amazonaws.com', health: 0 },
    ],
  },
  principals: [
    [ORDERS, 148, 9_210, 'orders-api-6d4f8-abcde'],
    ['arn:aws:iam::123456789012:role/billing-worker', 96, 4_122, 'i-0f3a9d1c22b7e4411'],
    ['arn:aws:iam::210987654321:role/etl/nightly-export', 61, 812, 'nightly-export-2026-03-14'],
    ['arn:aws:iam::123456789012:role/inventory', 44, 2_004, 'inventory-5c7b9-kk2lx'],
    ['arn:aws:iam::123456789012:user/grafana', 3, 31, ''],
    ['arn:aws:iam::123456789012:role/aws-reserved/sso.amazonaws.com/AWSReservedSSO_DBA', 2, 5, 'ada@example.com'],
  ].map(([principal, sessions, logins, name], index) => ({
    principal: String(principal),
    sessions: Number(sessions),
    logins: Number(logins),
    lastLogin: ago(index * 7 * MINUTE + 9_000),
    lastAddress: `10.20.${index}.17`,
    lastArn:
      name === ''
        ? String(principal)
        : `${String(principal).replace(':iam:', ':sts:').replace(':role/', ':assumed-role/')}/${name}`,
  })),
  rules: [
    { rule: ORDERS, logins: 9_210 },
    { rule: 'arn:aws:iam::123456789012:role/*', logins: 6_126 },
    { rule: 'arn:aws:iam::210987654321:role/etl/*', logins: 812 },
    { rule: 'arn:aws:iam::123456789012:user/grafana', logins: 31 },
    { rule: 'directory', logins: 5 },
  ],
  refusals: [
    {
      time: ago(31_000),
      count: 24,
      address: '10.20.9.44',
      fault: 'users/no-rule',
      reason: 'no rule matches this principal: arn:aws:iam::333344445555:role/reports',
      remedy: 'Add the ARN in the message to `users`, or create an $external user.',
      accessKeyId: 'ASIAEXAMPLE333344445',
      arn: 'arn:aws:sts::333344445555:assumed-role/reports/reports-77d-xyz',
      denial: null,
      advice: {
        text: 'Add this rule to `users` and choose the roles that the application needs.',
        copy: 'users:\n  - arn: arn:aws:iam::333344445555:role/reports\n    roles: [read@reports]\n',
      },
    },
    {
      time: ago(11 * MINUTE),
      count: 1,
      address: '10.20.0.18',
      fault: 'sts/refused',
      reason: 'AWS STS refused the credentials: ExpiredToken',
      remedy: 'ExpiredToken: renew the session.',
      accessKeyId: 'ASIAEXAMPLE123456789',
      arn: null,
      denial: null,
      advice: { text: 'Renew the session of the client. If it runs on EC2, check that its clock is right.' },
    },
    {
      time: ago(42 * MINUTE),
      count: 3,
      address: '10.20.4.2',
      fault: 'login/denied',
      reason: 'this principal is on the deny list',
      remedy: 'To admit it again, remove the entry.',
      accessKeyId: 'AKIAEXAMPLE987654321',
      arn: 'arn:aws:iam::123456789012:user/mallory',
      denial: 'arn:aws:iam::123456789012:user/mallory (ticket 4711)',
      advice: {
        text: 'The denial is intended until somebody removes it. To admit the principal again:',
        copy: 'mongo-iam-proxy undeny arn:aws:iam::123456789012:user/mallory --token-file admin-token',
      },
    },
  ],
  series: {
    times: Array.from({ length: SAMPLES }, (_, index) => (TIME - (SAMPLES - 1 - index) * STEP_MS) / 1_000),
    logins: { success: wave(14, 5, 40), refused: bursts(1.2), unavailable: hill(82, 7, 9) },
    latency: {
      queue: { median: wave(1, 0.6, 11), p99: hill(138, 60, 420).map(value => value + 4) },
      sts: { median: wave(24, 5, 13), p99: wave(88, 30, 17) },
      upstream: { median: wave(7, 2, 17), p99: hill(82, 8, 900).map((value, index) => value + 22 + 6 * noise(index)) },
    },
    stsCalls: { identity: wave(13, 5, 40), refused: bursts(0.8), throttled: hill(136, 50, 3), unavailable: zero() },
    waiting: Object.fromEntries(BUCKETS.map((bucket, index) => [bucket, index === 1 ? throttledQueue : zero()])),
    tokens: Object.fromEntries(
      BUCKETS.slice(0, 2).map((bucket, index) => [
        bucket,
        index === 0 ? wave(83, 9, 23) : throttledQueue.map((waiting, at) => (waiting > 0 ? 0.4 : 66 + 6 * noise(at))),
      ]),
    ),
    sessions: wave(400, 20, 31)
      .map(value => Math.round(value))
      .with(-1, 412),
  },
}

/** A proxy that has just started: nothing has happened, and nothing is configured. */
export const emptySnapshot: StatusSnapshot = {
  ...snapshot,
  status: {
    ...snapshot.status,
    startedAt: ago(4_000),
    upstream: { primary: null, members: [] },
    sessions: { open: 0, free: 1_000 },
  },
  problems: [],
  config: { hash: '9f2b1c', appliedAt: TIME - 4_000, isRejected: false },
  primary: { since: TIME - 4_000, elections: 0, changes: [] },
  certificates: [],
  budgets: { buckets: [], hosts: [] },
  principals: [],
  rules: [],
  refusals: [],
  series: {
    times: snapshot.series.times,
    logins: { success: zero(), refused: zero(), unavailable: zero() },
    latency: {
      queue: { median: zero().map(() => null), p99: zero().map(() => null) },
      sts: { median: zero().map(() => null), p99: zero().map(() => null) },
      upstream: { median: zero().map(() => null), p99: zero().map(() => null) },
    },
    stsCalls: { identity: zero(), refused: zero(), throttled: zero(), unavailable: zero() },
    waiting: {},
    tokens: {},
    sessions: zero(),
  },
}
