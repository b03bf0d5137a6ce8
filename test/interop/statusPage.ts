/** The status page in Chromium: what a reader sees, and what the browser allows. */
import type { Page } from 'playwright-core'
import t, { type Test } from 'tap'
import type { StatusSnapshot } from '../../src/page/snapshot.js'
import { startStatusPageServer } from '../support/statusPageServer.js'
import { emptySnapshot, snapshot } from '../support/statusSnapshot.js'
import {
  findAccessibilityProblems,
  findChromium,
  launchChromium,
  openPage,
  PHONE,
  waitUntilLive,
} from './support/browser.js'
import { prepareOrSkip } from './support/toolchains.js'

const { value: chromium, skip } = await prepareOrSkip(findChromium)
const browser = chromium === undefined ? undefined : await launchChromium(t, chromium)

/** Runs a test with the page of `shown`. At its end nothing was logged, blocked or requested elsewhere. */
function testPage(
  name: string,
  run: (test: {
    t: Test
    page: Page
    server: Awaited<ReturnType<typeof startStatusPageServer>>
    problems: string[]
  }) => Promise<void>,
  { shown = snapshot, ...options }: Parameters<typeof openPage>[3] & { shown?: StatusSnapshot } = {},
): void {
  t.test(name, { skip }, async t => {
    if (!browser) return
    const server = await startStatusPageServer(t, shown)
    const { page, problems } = await openPage(t, browser, server.url, options)
    if (options.javaScriptEnabled !== false) await waitUntilLive(page)
    await run({ t, page, server, problems })
    t.same(problems, [])
  })
}

const textOf = (page: Page, selector: string): Promise<string> => page.locator(selector).innerText()
const withSessions = (open: number): StatusSnapshot => ({
  ...snapshot,
  status: { ...snapshot.status, sessions: { open, free: 1_000 - open } },
})

for (const [look, options] of [
  ['on a laptop, light', { colorScheme: 'light' }],
  ['on a laptop, dark', { colorScheme: 'dark' }],
  ['on a phone', { viewport: PHONE, colorScheme: 'light' }],
  ['on a phone, dark', { viewport: PHONE, colorScheme: 'dark' }],
  ['with the colors of the system', { forcedColors: 'active' }],
] as const) {
  testPage(
    `axe-core reports nothing ${look}`,
    async ({ t, page, server }) => {
      t.same(await findAccessibilityProblems(page), [])
      server.show(emptySnapshot)
      await page.getByText('No login has been refused since the start.').waitFor()
      t.same(await findAccessibilityProblems(page), [])
    },
    options,
  )
}

testPage(
  'a phone scrolls tables in their regions, never the page',
  async ({ t, page }) => {
    t.equal(await page.evaluate('document.documentElement.scrollWidth'), PHONE.width)
  },
  { viewport: PHONE },
)

testPage('the keyboard reaches everything, and shows where it is', async ({ t, page }) => {
  await page.keyboard.press('Tab')
  t.equal(await page.evaluate('document.activeElement.className'), 'skip')
  t.ok((await page.locator('.skip').boundingBox())?.y ?? -1 >= 0, 'the skip link is visible')
  const focusable = await page.locator('a[href]:visible, button:visible, [tabindex="0"]:visible').count()
  const seen: string[] = []
  for (let count = 0; count < focusable; count += 1) {
    const { name, hasOutline } = await page.evaluate<{ name: string; hasOutline: boolean }>(
      `(() => {
        const element = document.activeElement
        const { outlineStyle, outlineWidth } = getComputedStyle(element)
        const name = element.ariaLabel ?? element.getAttribute('aria-labelledby') ?? element.textContent
        return { name, hasOutline: outlineStyle !== 'none' && parseFloat(outlineWidth) >= 2 }
      })()`,
    )
    seen.push(name)
    t.ok(hasOutline, `${name} shows the focus`)
    await page.keyboard.press('Tab')
  }
  for (const name of ['Runbook', 'Logins per second', 'principals-caption', 'Copy', 'Colors']) {
    t.ok(
      seen.some(one => one.includes(name)),
      name,
    )
  }
})

testPage('the skip link leads past the navigation', async ({ t, page }) => {
  await page.keyboard.press('Tab')
  await page.keyboard.press('Enter')
  await page.keyboard.press('Tab')
  t.match(await page.evaluate('document.activeElement.textContent'), /^Runbook/)
})

testPage('arrow keys move through the samples of a chart', async ({ t, page }) => {
  const chart = page.locator('[data-chart="logins"]')
  await page.keyboard.press('Tab')
  await chart.focus()
  t.match(await chart.getAttribute('aria-valuetext'), /^03:12:40 +success \d/)
  await page.keyboard.press('ArrowLeft')
  t.match(await chart.getAttribute('aria-valuetext'), /^03:12:35 /)
  await page.keyboard.press('Home')
  t.match(await chart.getAttribute('aria-valuetext'), /^02:57:45 /)
})

testPage('an update changes the section and nothing else', async ({ t, page, server }) => {
  await page.evaluate('document.querySelector("#rules table").isSame = true')
  server.show(withSessions(413))
  await page.locator('#vitals').getByText('413').waitFor()
  t.equal(await page.evaluate('document.querySelector("#rules table").isSame'), true)
})

testPage('the focus survives an update, also of a row that moves', async ({ t, page, server }) => {
  const [first, ...others] = snapshot.refusals
  if (!first) return
  await page.locator('#refusals button').last().focus()
  server.show({ ...snapshot, refusals: [...others, { ...first, address: '10.9.9.9' }] })
  await page.locator('#refusals').getByText('10.9.9.9').waitFor()
  t.match(await page.evaluate('document.activeElement.textContent'), /this principal is on the deny list/)
})

testPage('the focus stays in the section if its element is gone', async ({ t, page, server }) => {
  await page.locator('#refusals button').last().focus()
  server.show({ ...snapshot, refusals: [] })
  await page.getByText('No login has been refused since the start.').waitFor()
  t.equal(await page.evaluate('document.activeElement.id'), 'refusals-heading')
})

testPage('selected text survives an update', async ({ t, page, server }) => {
  const selection = 'document.getSelection().toString()'
  await page.evaluate('document.getSelection().selectAllChildren(document.querySelector("#refusals h3 .reason"))')
  const before = await page.evaluate(selection)
  const [first] = snapshot.refusals
  if (!first) return
  server.show({ ...snapshot, refusals: [{ ...first, address: '10.9.9.9', arn: null }, ...snapshot.refusals] })
  await page.locator('#refusals').getByText('10.9.9.9').waitFor()
  t.equal(await page.evaluate(selection), before)
})

testPage('the scroll position survives an update', async ({ t, page, server }) => {
  await page.locator('#build').scrollIntoViewIfNeeded()
  const before = await page.evaluate('scrollY')
  server.show(withSessions(414))
  await page.locator('#vitals').getByText('414').waitFor()
  t.equal(await page.evaluate('scrollY'), before)
})

testPage(
  'the copy button fills the clipboard',
  async ({ t, page }) => {
    await page.locator('#refusals button').first().click()
    await page.getByText('Copied').waitFor()
    t.equal(await page.evaluate('navigator.clipboard.readText()'), snapshot.refusals[0]?.advice.copy)
  },
  { permissions: ['clipboard-read', 'clipboard-write'] },
)

testPage('the tab says the state', async ({ t, page, server }) => {
  t.match(await page.title(), /^✕ Serving – mongo-iam-proxy-7c9f-x2x8m/)
  server.show(emptySnapshot)
  await page.waitForFunction('document.title.startsWith("Serving")')
})

const hostile = '<img src=x onerror="document.title=1">\u202e\u200bevil\u0007'.padEnd(10_000, 'A')
testPage(
  'a hostile text stays text, and does not widen the page',
  async ({ t, page, server }) => {
    const principals = snapshot.principals.map(one => ({ ...one, principal: hostile, lastArn: `${hostile}x` }))
    const refusals = snapshot.refusals.map(one => ({
      ...one,
      reason: hostile,
      arn: hostile,
      address: hostile,
      advice: { text: hostile, copy: hostile },
    }))
    const problems = snapshot.problems.map(one => ({ ...one, text: hostile, runbook: 'javascript:document.title=1' }))
    const status = {
      ...snapshot.status,
      instance: hostile,
      upstream: { primary: hostile, members: [{ address: hostile, state: hostile }] },
    }
    server.show({ ...snapshot, principals, refusals, problems, status })
    await page.locator('#principals').getByText('<img src=x').first().waitFor()
    t.equal(await page.locator('img').count(), 0)
    t.match(await textOf(page, '#refusals h3 >> nth=0'), /\\u202e\\u200bevil\\u0007/)
    t.equal(await page.locator('a[href^="javascript"]').count(), 0)
    t.equal(await page.evaluate('document.documentElement.scrollWidth'), PHONE.width)
    t.same(await findAccessibilityProblems(page), [])
  },
  { viewport: PHONE },
)

testPage('a lost connection is shown, and ends', async ({ t, page, server, problems }) => {
  await server.stop()
  await page.getByText('Connection lost, retrying').waitFor()
  t.match(await textOf(page, '.connection'), /data of 03:12:40 UTC/)
  await server.start()
  await page.locator('.connection[data-state="live"]').waitFor()
  t.equal(await page.getByText('Connection lost').count(), 0)
  // The browser reports each refused connection.
  t.same(
    problems.splice(0).filter(problem => !problem.includes('net::ERR_')),
    [],
  )
})

testPage('a new sample extends the charts', async ({ t, page, server }) => {
  const last = Number(snapshot.series.times.at(-1))
  server.send('sample', {
    times: last + 5,
    logins: { success: 3, refused: 0, unavailable: 0 },
    latency: { queue: { median: 1, p99: 2 }, sts: { median: 1, p99: 2 }, upstream: { median: 1, p99: 2 } },
    stsCalls: { identity: 3, refused: 0, throttled: 0, unavailable: 0 },
    waiting: {},
    tokens: { 'a new account': 5 },
    sessions: 400,
  })
  await page.locator('#data-time').getByText('03:12:45').waitFor()
  await page.keyboard.press('Tab')
  await page.locator('[data-chart="logins"]').focus()
  t.match(await page.locator('[data-chart="logins"]').getAttribute('aria-valuetext'), /^03:12:45 +success 3,/)
})

testPage('the chosen colors are stored', async ({ t, page }) => {
  const button = page.getByRole('button', { name: 'Colors: system' })
  await button.click()
  await page.getByRole('button', { name: 'Colors: light' }).click()
  t.equal(await page.evaluate('getComputedStyle(document.body).backgroundColor'), 'rgb(15, 19, 24)')
  await page.reload()
  await page.getByRole('button', { name: 'Colors: dark' }).waitFor()
})

testPage(
  'the page is complete without JavaScript',
  async ({ t, page }) => {
    t.match(await textOf(page, '.state'), /Serving: 1 error, 1 warning/)
    t.match(await textOf(page, '#principals'), /role\/orders-api/)
    t.match(await textOf(page, '#logins'), /success\s+9\.5/)
    t.match(await textOf(page, '.connection'), /data of 03:12:40 UTC\. Load the page again for newer data\./i)
    t.equal(await page.locator('button:visible').count(), 0)
  },
  { javaScriptEnabled: false },
)
