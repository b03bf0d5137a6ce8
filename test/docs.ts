/** The documentation names only what exists: files, settings, faults, metrics, commands and examples that load. */
import { execFileSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { metrics } from '../src/admin/metrics.js'
import { allSettings } from '../src/config/settings.js'
import { faults } from '../src/errors.js'

const root = fileURLToPath(new URL('..', import.meta.url))
const names = execFileSync('git', ['ls-files', '--cached', '--others', '--exclude-standard', '*.md'], {
  cwd: root,
  encoding: 'utf8',
})
const pages = names
  .trim()
  .split('\n')
  .filter(name => existsSync(join(root, name)))
  .map(name => ({ name, text: readFileSync(join(root, name), 'utf8') }))
/** The changelog names what existed once. */
const current = pages.filter(({ name }) => name !== 'CHANGELOG.md')
const page = (name: string): string => pages.find(one => one.name === name)?.text ?? ''

const withoutBlocks = (text: string): string => text.replace(/^( *)```[\s\S]*?^\1```$/gm, '')
const codeSpans = (text: string): string[] =>
  [...withoutBlocks(text).matchAll(/`([^`\n]+)`/g)].map(([, code = '']) => code)
/** The anchors of a page's headings, as GitHub makes them. */
const anchors = (text: string): string[] =>
  [...withoutBlocks(text).matchAll(/^#+ (.+)$/gm)].map(([, heading = '']) =>
    heading
      .toLowerCase()
      .replace(/[^\p{L}\p{N}\s_-]/gu, '')
      .replace(/\s/g, '-'),
  )

t.test('every link leads to a file and a heading that exist', async t => {
  for (const { name, text } of pages) {
    for (const [, target = ''] of withoutBlocks(text).matchAll(/\]\(([^)\s]+)\)/g)) {
      if (/^https?:/.test(target)) continue
      const [path = '', anchor] = target.split('#')
      const file = path === '' ? name : join(dirname(name), path)
      t.ok(existsSync(join(root, file)), `${name} links to ${target}`)
      if (anchor && file.endsWith('.md')) t.ok(anchors(page(file)).includes(anchor), `${name} links to ${target}`)
    }
  }
})

t.test('every source file that a page names exists', async t => {
  for (const { name, text } of current) {
    for (const code of codeSpans(text)) {
      if (/^(src|test|bench|sandbox|docs|scripts)\/[\w./-]+$/.test(code))
        t.ok(existsSync(join(root, code)), `${name}: ${code}`)
    }
  }
})

t.test('every setting, fault and metric that a page names exists', async t => {
  const paths = allSettings.map(({ path }) => path)
  const groups = new Set(paths.map(path => path.split('.')[0]))
  const kinds = Object.keys(faults)
  const faultGroups = new Set(kinds.filter(kind => kind.includes('/')).map(kind => kind.split('/')[0]))
  const known = (path: string) => paths.some(one => one === path || one.startsWith(`${path}.`))
  for (const { name, text } of current) {
    for (const code of codeSpans(text)) {
      const [setting] = /^[a-z]+(\.[a-zA-Z]+)+(?=$|:)/.exec(code) ?? []
      if (setting && groups.has(setting.split('.')[0] ?? '')) t.ok(known(setting), `${name}: ${code}`)
      const [, group] = /^([a-z]+)\/[a-z-]+$/.exec(code) ?? []
      if (group && faultGroups.has(group)) t.ok(kinds.includes(code), `${name}: ${code}`)
      const [, metric] =
        /^(?:mongo_iam_proxy_)?([a-z]+(?:_[a-z]+)*_(?:total|seconds|tokens|rate|waiting|throttles|health))\b/.exec(
          code,
        ) ?? []
      if (metric) t.ok(Object.hasOwn(metrics, metric), `${name}: ${code}`)
    }
  }
})

t.test('the README fits on 150 lines', async t => {
  t.ok(page('README.md').split('\n').length <= 151)
})

t.test('no sentence begins with Who, Whoever, Nobody or Those that', async t => {
  for (const { name, text } of current) {
    t.notMatch(withoutBlocks(text), /(^|[.:;!?]\s+|^[-*|] *)(Who|Whoever|Nobody|Those (that|who))\s+(?![^.]*\?)/m, name)
  }
})
