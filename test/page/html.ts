import t from 'tap'
import { html, htmlLines, linkAddress } from '../../src/page/html.js'

const written = (value: Parameters<typeof html>[1]): string => html`${value}`.toString()

t.test('a text cannot become markup, in content or in an attribute', async t => {
  t.equal(written('<script>alert(1)</script>'), '&lt;script&gt;alert(1)&lt;/script&gt;')
  t.equal(
    html`<td title="${`" onmouseover='x' & more`}"></td>`.toString(),
    '<td title="&quot; onmouseover=&#39;x&#39; &amp; more"></td>',
  )
})

t.test('characters that hide or reorder text are shown as escapes', async t => {
  t.equal(written('a\u202egpj\u200b.exe'), 'a\\u202egpj\\u200b.exe')
  t.equal(written('a\u0000\u001b[2J\u009b\r\nb'), 'a\\u0000\\u001b[2J\\u009b\\u000d\\u000ab')
  t.equal(written('\ud800'), '\\ud800')
})

t.test('a long text is truncated', async t => {
  t.equal(written('x'.repeat(10_000)), `${'x'.repeat(499)}…`)
  t.ok(written('\u202e<'.repeat(10_000)).length <= 500 * 6)
})

t.test('markup is not escaped again, alone or in a list', async t => {
  const item = html`<b>${'<'}</b>`
  t.equal(written(item), '<b>&lt;</b>')
  t.equal(written([item, item]), '<b>&lt;</b><b>&lt;</b>')
})

t.test('nothing is written for what is not there, and zero is a number', async t => {
  t.equal(written(null), '')
  t.equal(written(undefined), '')
  t.equal(written(false), '')
  t.equal(written(0), '0')
})

t.test('an object that looks like markup is none', async t => {
  const forged = { toString: () => '<script>' } as unknown as string
  t.throws(() => written(forged))
})

t.test('a value in a tag needs quotes around it', async t => {
  t.throws(() => html`<a href=${'x'}>`, /without quotes/)
  t.throws(() => html`<${'script'}>`, /without quotes/)
  t.throws(() => html`<a ${'onclick'}="x">`, /without quotes/)
  t.throws(() => html`<p class="a">b</p><a title='${'x'}'>`, /without quotes/)
  t.equal(html`<a class="${'a'} b" href="${'#c'}">`.toString(), '<a class="a b" href="#c">')
})

t.test('a text of several lines keeps its line breaks alone', async t => {
  t.equal(htmlLines('a:\n  - <b>\u202e\t', 100).toString(), 'a:\n  - &lt;b&gt;\\u202e\\u0009')
  t.equal(htmlLines('abcdef', 3).toString(), 'ab…')
})

t.test('a link leads to this site or over HTTP', async t => {
  for (const address of ['https://example.com/a#b', 'http://localhost', '#members', '/status', 'docs/errors.md#a']) {
    t.equal(linkAddress(address), address)
  }
  for (const address of [
    'javascript:alert(1)',
    'JavaScript://x',
    'data:text/html,x',
    '//evil.example',
    ' javascript:x',
  ]) {
    t.equal(linkAddress(address), '#', address)
  }
})
