/**
 * Writes the screenshots of the status page in docs/images: `npm run screenshots`. Needs Debian's package chromium.
 *
 * The page is the real one; its data is that of the tests, so that the pictures show a day with problems.
 */
import { mkdirSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { chromium } from 'playwright-core'
import { startStatusPageServer } from '../test/support/statusPageServer.js'
import { snapshot } from '../test/support/statusSnapshot.js'

const FOLDER = fileURLToPath(new URL('../docs/images/', import.meta.url))
const PICTURES = [
  { name: 'light', width: 1280, height: 1080, scale: 1.25, colorScheme: 'light' },
  { name: 'dark', width: 1280, height: 1080, scale: 1.25, colorScheme: 'dark' },
  { name: 'phone', width: 360, height: 740, scale: 2, colorScheme: 'light' },
]

mkdirSync(FOLDER, { recursive: true })
const closing = []
const t = { teardown: close => closing.unshift(close) }
const browser = await chromium.launch({ executablePath: '/usr/bin/chromium', args: ['--no-sandbox'] })
t.teardown(() => browser.close())
try {
  const { url } = await startStatusPageServer(t, snapshot)
  for (const { name, width, height, scale, colorScheme } of PICTURES) {
    const page = await browser.newPage({ viewport: { width, height }, deviceScaleFactor: scale, colorScheme })
    await page.goto(url)
    await page.locator('.connection[data-state="live"]').waitFor()
    await page.locator('.chart canvas').first().waitFor()
    await page.screenshot({ path: `${FOLDER}status-${name}.png` })
    await page.close()
  }
} finally {
  for (const close of closing) await close()
}
