/** Debian's Chromium, driven by Playwright, and pages whose errors, policy violations and foreign requests are collected. */
import { access, constants } from 'node:fs/promises'
import axe from 'axe-core'
import { type Browser, type BrowserContextOptions, chromium, type Page } from 'playwright-core'
import type { Test } from 'tap'

const CHROMIUM = '/usr/bin/chromium'

/** Returns the path of the browser. Throws if it is not installed. */
export async function findChromium(): Promise<string> {
  await access(CHROMIUM, constants.X_OK).catch(() => {
    throw new Error(`${CHROMIUM} is missing: install Debian's package chromium`)
  })
  return CHROMIUM
}

/** Chromium cannot use its sandbox as root; it opens pages of our own alone. */
export async function launchChromium(t: Pick<Test, 'teardown'>, executablePath: string): Promise<Browser> {
  const browser = await chromium.launch({ executablePath, args: ['--no-sandbox'], timeout: 0 })
  t.teardown(() => browser.close())
  return browser
}

export type OpenPage = {
  page: Page
  /** Console errors and warnings, uncaught exceptions, and requests to other origins so far. */
  problems: string[]
}

export const LAPTOP = { width: 1280, height: 800 }
export const PHONE = { width: 360, height: 740 }

/** Opens `url` in a context of its own, which ends with the test. */
export async function openPage(
  t: Pick<Test, 'teardown'>,
  browser: Browser,
  url: string,
  { viewport = LAPTOP, ...options }: BrowserContextOptions = {},
): Promise<OpenPage> {
  const context = await browser.newContext({ viewport, ...options })
  t.teardown(() => context.close())
  // The timeout of the test ends what never happens.
  context.setDefaultTimeout(0)
  const page = await context.newPage()
  const problems: string[] = []
  page.on('console', message => {
    if (['error', 'warning'].includes(message.type())) problems.push(`${message.type()}: ${message.text()}`)
  })
  page.on('pageerror', error => problems.push(`exception: ${error.message}`))
  page.on('request', request => {
    const { origin, protocol } = new URL(request.url())
    if (protocol !== 'data:' && origin !== new URL(url).origin) problems.push(`request to ${request.url()}`)
  })
  await page.goto(url)
  return { page, problems }
}

/** Resolves once the event stream has delivered and the charts are drawn. */
export async function waitUntilLive(page: Page): Promise<void> {
  await page.locator('.connection[data-state="live"]').waitFor()
  await page.locator('.chart canvas').first().waitFor()
}

/** Returns what axe-core finds, with the elements. */
export async function findAccessibilityProblems(page: Page): Promise<string[]> {
  await page.evaluate(axe.source)
  const { violations } = await page.evaluate<{
    violations: { id: string; help: string; nodes: { target: string[]; failureSummary: string }[] }[]
  }>('axe.run(document, { resultTypes: ["violations"] })')
  return violations.map(
    ({ id, help, nodes }) => `${id}: ${help}: ${nodes.map(node => `${node.target} ${node.failureSummary}`).join('; ')}`,
  )
}
