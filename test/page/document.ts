import t from 'tap'
import { renderDocument } from '../../src/page/document.js'
import { SECTIONS } from '../../src/page/sections.js'
import { emptySnapshot, snapshot } from '../support/statusSnapshot.js'

const assets = Object.fromEntries(
  ['status.js', 'status.css', 'uPlot.js', 'uPlot.css'].map(name => [name, `/assets/${name}?v=1`]),
)
const page = renderDocument(snapshot, assets)

t.test('the document has every section, with a heading and a link to it', async t => {
  for (const { id, title, render } of SECTIONS) {
    t.ok(page.includes(render(snapshot).toString()), `${id} is complete without JavaScript`)
    t.ok(page.includes(`data-section="${id}"`), id)
    if (id === 'state') continue
    t.ok(page.includes(`<section id="${id}">`), id)
    t.ok(page.includes(`<a href="#${id}">${title}</a>`), id)
  }
})

t.test('the document loads its own files alone, and has no inline script and no inline style', async t => {
  for (const address of Object.values(assets)) t.ok(page.includes(`"${address}"`), address)
  t.notMatch(page, /<script(?![^>]* src=)/)
  t.notMatch(page, /<style|\sstyle=|\son[a-z]+=/)
  t.same(
    [...page.matchAll(/(?:src|href)="((?:https?:)?\/\/[^"]*)"/g)]
      .map(([, address]) => address)
      .filter(address => !address?.includes('/errors.md#')),
    [],
  )
})

t.test('no id is used twice', async t => {
  for (const shown of [page, renderDocument(emptySnapshot, assets)]) {
    const ids = [...shown.matchAll(/\sid="([^"]*)"/g)].map(([, id]) => id)
    t.same(ids, [...new Set(ids)])
  }
})

t.test('only the state and the problems are announced', async t => {
  const live = [...page.matchAll(/data-section="([^"]*)" aria-live="polite"/g)].map(([, id]) => id)
  t.same(live, ['state', 'problems'])
})

t.test('the title says the state and the instance', async t => {
  t.match(page, '<title>Serving – mongo-iam-proxy-7c9f-x2x8m – mongo-iam-proxy</title>')
})
