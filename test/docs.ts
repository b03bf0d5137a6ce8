/** The documentation names only what exists: files, settings, faults, metrics, commands and examples that load. */
import { execFileSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { metrics } from '../src/admin/metrics.js'
import { loadWithPolicy } from '../src/app/policy.js'
import { auditEvents } from '../src/audit/events.js'
import { hasEndMark } from '../src/config/endMark.js'
import { loadConfig } from '../src/config/load.js'
import { allSettings } from '../src/config/settings.js'
import { faults } from '../src/errors.js'
import { parseDenyFile } from '../src/revocation/denyFile.js'
import { compileRules } from '../src/users/rules.js'

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
      if (!/^(src|test|bench|fuzz|sandbox|docs|scripts)\/[\w./-]+$/.test(code)) continue
      t.ok(existsSync(join(root, code)) || existsSync(join(root, dirname(name), code)), `${name}: ${code}`)
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
      if (setting && groups.has(setting.split('.')[0] ?? '') && !/^admin\.system\.|\.com$/.test(setting))
        t.ok(known(setting) || Object.hasOwn(auditEvents, setting), `${name}: ${code}`)
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

/** The fenced blocks of a language on a page, without their indentation. */
const blocks = (name: string, language: string): string[] =>
  [...page(name).matchAll(/^( *)```(\w*)\n([\s\S]*?)^ *```$/gm)]
    .filter(([, , one]) => one === language)
    .map(([, indent = '', , text = '']) => text.replace(new RegExp(`^${indent}`, 'gm'), ''))

t.test('every example of a YAML file ends with the mark', async t => {
  for (const { name } of current) {
    for (const text of blocks(name, 'yaml')) t.ok(hasEndMark(text), `${name}: ${text}`)
  }
})

t.test('the configuration of the README is valid', async t => {
  const text = blocks('README.md', 'yaml').find(block => block.includes('upstream:')) ?? ''
  const pem = (name: string) => readFileSync(join(root, 'test/support/tls', name))
  const files: Record<string, Buffer> = {
    'proxy.yaml': Buffer.from(text),
    '/etc/mongo-iam-proxy/tls.crt': pem('upstream.pem'),
    '/etc/mongo-iam-proxy/tls.key': pem('upstream.pem'),
    '/run/secrets/admin-uri': Buffer.from(
      'mongodb://iam-proxy:secret@mongo-0:27017,mongo-1:27017/?replicaSet=rs0&tls=true',
    ),
    '/run/secrets/orders': Buffer.from('two\n'),
  }
  const config = loadConfig({
    file: 'proxy.yaml',
    args: {},
    env: {},
    readFile: path => ({ bytes: files[path] ?? Buffer.alloc(0), mode: 0o400 }),
  })
  t.same(config.warnings, [])
  t.same(compileRules(config.users).problems, [])
  t.equal(config.users.length, 1)
})

t.test('the example rules are valid, in their scope', async t => {
  const text = blocks('docs/rules.md', 'yaml').find(block => block.includes('permissionSet')) ?? ''
  const bytes = Buffer.from(`listen: { scope: maintenance }\nupstream: { uri: 'mongodb://localhost' }\n${text}`)
  const { users, listen } = loadConfig({ file: 'x', args: {}, env: {}, readFile: () => ({ bytes, mode: 0o400 }) })
  const { rules, problems } = compileRules(users, listen)
  t.same(problems, [])
  t.equal(rules.all.length, 3)
})

t.test('the example of a VPC endpoint is valid', async t => {
  const text = blocks('docs/operations.md', 'yaml').find(block => block.includes('vpce')) ?? ''
  const bytes = Buffer.from(`upstream: { uri: 'mongodb://localhost' }\n${text}`)
  const { sts } = loadConfig({ file: 'x', args: {}, env: {}, readFile: () => ({ bytes, mode: 0o400 }) })
  t.match(sts.hosts, [{ host: 'sts.eu-west-1.amazonaws.com', connect: { port: 443 } }])
})

t.test('the example of provisioned users is valid', async t => {
  const text = blocks('docs/provisioning.md', 'yaml').find(block => block.includes('provision:')) ?? ''
  const files: Record<string, string> = {
    'proxy.yaml': text,
    '/run/secrets/admin-uri': 'mongodb://iam-proxy:secret@mongo.internal:27017/?tls=true',
    '/run/secrets/master': 'x'.repeat(44),
  }
  const readFile = (path: string) => ({ bytes: Buffer.from(files[path] ?? ''), mode: 0o400 })
  const { policy } = loadWithPolicy({ file: 'proxy.yaml', args: {}, env: {}, readFile })
  t.equal(policy.rules.all.length, 1)
})

t.test('the example deny file is valid, and needs its last line', async t => {
  const text = blocks('docs/revocation.md', 'yaml').find(block => block.includes('principalId: AROA')) ?? ''
  t.same(parseDenyFile(text, 'deny.yaml').problems, [])
  t.equal(parseDenyFile(text, 'deny.yaml').all.length, 5)
  t.equal(parseDenyFile(text.replace('...\n', ''), 'deny.yaml').all.length, 0)
})

t.test('every command that a page shows exists', async t => {
  const env = { PATH: process.env.PATH }
  const help = execFileSync('node', ['dist/cli.js', '--help'], { cwd: root, encoding: 'utf8', env })
  const { scripts } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))
  for (const { name, text } of current) {
    const lines = [...blocks(name, 'sh').join('').split('\n'), ...codeSpans(text)].map(line =>
      line.replace(/ #.*/, '').trim(),
    )
    for (const line of lines) {
      const [, npm] = /^npm (ci|start|test|run [\w:]+)/.exec(line) ?? []
      if (npm) t.ok(npm === 'ci' || scripts[npm.replace('run ', '')], `${name}: ${line}`)
      const [, command] = /^(?:mongo-iam-proxy|node dist\/cli\.js) ([a-z]+)/.exec(line) ?? []
      if (command) t.match(help, ` ${command}`, `${name}: ${line}`)
    }
  }
})
