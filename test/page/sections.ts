import t from 'tap'
import { SECTIONS } from '../../src/page/sections.js'
import type { StatusSnapshot } from '../../src/page/snapshot.js'
import { emptySnapshot, snapshot, TIME } from '../support/statusSnapshot.js'

const render = (id: string, shown: StatusSnapshot): string =>
  SECTIONS.find(section => section.id === id)
    ?.render(shown)
    .toString() ?? ''
/** The text that a reader sees. */
const read = (id: string, shown: StatusSnapshot): string =>
  render(id, shown)
    .replace(/<[^>]*>/g, ' ')
    .replace(/\s+/g, ' ')
    .trim()
const withStatus = (changes: Partial<StatusSnapshot['status']>): StatusSnapshot => ({
  ...snapshot,
  problems: [],
  status: { ...snapshot.status, ...changes },
})

t.test('the state is one line that says the worst', async t => {
  t.equal(read('state', { ...snapshot, problems: [] }), '✓ Serving : no problem found')
  t.equal(read('state', snapshot), '✕ Serving : 1 error, 1 warning')
  t.equal(read('state', { ...snapshot, problems: snapshot.problems.slice(1) }), '▲ Serving : 1 warning')
  t.equal(read('state', withStatus({ ready: false })), '✕ Not ready : logins are not served')
  t.equal(read('state', withStatus({ draining: true, ready: false })), '◌ Draining : no new connections')
})

t.test('the state does not change with each sample', async t => {
  const later = { ...snapshot, time: TIME + 5_000, series: emptySnapshot.series }
  t.equal(render('state', later), render('state', snapshot))
  t.equal(render('problems', later), render('problems', snapshot))
})

t.test('each problem says its level and links to the runbook', async t => {
  t.match(read('problems', snapshot), /Error: mongo-2\.example\.com:27017 has not answered since 03:04:11 UTC\./)
  t.match(read('problems', snapshot), /Warning: /)
  t.match(
    render('problems', snapshot),
    'href="https://example.com/mongo-iam-proxy/docs/errors.md#mongoiamproxymemberdown"',
  )
})

t.test('a section without content says what that means', async t => {
  for (const [id, text] of [
    ['problems', /^No problem found/],
    ['logins', /No login in the last 15 minutes/],
    ['waiting', /^No login has waited/],
    ['principals', /^No login yet/],
    ['budget', /No account has called STS yet/],
    ['members', /No primary .* No member is known yet/],
    ['certificates', /^No certificate is configured/],
    ['rules', /^No rule is configured/],
    ['refusals', /^No login has been refused/],
  ] as const) {
    t.match(read(id, emptySnapshot), text, id)
  }
})

t.test('every table has a caption and scopes, and its region a name', async t => {
  for (const section of SECTIONS) {
    const markup = section.render(snapshot).toString()
    for (const [, id, table = ''] of markup.matchAll(/aria-labelledby="([^"]+)"[^>]*>\s*(<table[\s\S]*?<\/table>)/g)) {
      t.match(table, `<caption id="${id}"`)
      t.notMatch(table, /<th(?![^>]* scope=)[ >]/)
    }
    t.equal((markup.match(/<table/g) ?? []).length, (markup.match(/tabindex="0"[^>]*>\s*<table/g) ?? []).length)
  }
})

t.test('a refusal has its remedy and the text to copy', async t => {
  t.match(read('refusals', snapshot), /24 times .* Add this rule to users/)
  t.match(
    render('refusals', snapshot),
    'users:\n  - arn: arn:aws:iam::333344445555:role/reports\n    roles: [read@reports]\n',
  )
})

t.test('hostile texts stay texts, whichever field holds them', async t => {
  const hostile = `<img src=x onerror=alert(1)>"'\u202e\u200b\u0007${'A'.repeat(10_000)}`
  const poison = (value: unknown): unknown => {
    if (typeof value === 'string') return /^\d{4}-/.test(value) ? value : hostile
    if (Array.isArray(value)) return value.map(poison)
    if (typeof value !== 'object' || value === null) return value
    return Object.fromEntries(Object.entries(value).map(([key, one]) => [key, poison(one)]))
  }
  const poisoned = poison(snapshot) as StatusSnapshot
  for (const { id } of SECTIONS) {
    const markup = render(id, poisoned)
    t.notMatch(markup, /<img|[\u202e\u200b]/, id)
    t.notMatch(markup, /A{4001}/, id)
    // Without well-formed tags, no tag is left.
    t.notMatch(markup.replace(/<\/?[a-z0-9]+(\s+[a-z0-9-]+="[^"<>]*")*\s*>/gi, ''), /[<>]/, id)
  }
})

t.test('a hostile name of a bucket cannot change other series', async t => {
  const shown = { ...snapshot, series: { ...snapshot.series, waiting: { '"><script>': snapshot.series.sessions } } }
  t.match(render('waiting', shown), 'data-series="[&quot;waiting&quot;,&quot;\\&quot;&gt;&lt;script&gt;&quot;]"')
})
