import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import t from 'tap'
import { renderMetricsTable } from '../src/admin/metrics.js'
import { loadWithPolicy } from '../src/app/policy.js'
import { loadConfig } from '../src/config/load.js'
import { settingsTable } from '../src/config/table.js'
import { renderFaultsTable } from '../src/errors.js'
import { formatCreateRoleScript } from '../src/provisioning/privileges.js'
import { parseDenyFile } from '../src/revocation/denyFile.js'
import { compileRules } from '../src/users/rules.js'

const root = new URL('..', import.meta.url)
const readme = readFileSync(new URL('README.md', root), 'utf8')
const { scripts } = JSON.parse(readFileSync(new URL('package.json', root), 'utf8')) as {
  scripts: Record<string, string>
}

/** The fenced blocks of a language. */
const blocks = (language: string): string[] =>
  [...readme.matchAll(/^( *)```(\w*)\n([\s\S]*?)^ *```$/gm)]
    .filter(([, , name]) => name === language)
    .map(([, indent = '', , text = '']) => text.replace(new RegExp(`^${indent}`, 'gm'), ''))

for (const [name, table] of Object.entries({
  settings: settingsTable(),
  faults: renderFaultsTable(),
  metrics: renderMetricsTable(),
  privileges: `\`\`\`js\n${formatCreateRoleScript()}\`\`\`\n`,
})) {
  t.test(`the table of ${name} is the one that the program reads (npm run docs writes it)`, async t => {
    t.equal(readme.split(`<!-- ${name} -->\n`)[1]?.split(`<!-- /${name} -->`)[0], table)
  })
}

t.test('the configuration of the README is a good one', async t => {
  const text = blocks('yaml').find(block => block.includes('upstream:')) ?? ''
  const pem = (name: string) => readFileSync(new URL(`test/support/tls/${name}`, root))
  const files: Record<string, Buffer> = {
    'proxy.yaml': Buffer.from(text),
    '/etc/mongo-iam-proxy/tls.crt': pem('upstream.pem'),
    '/etc/mongo-iam-proxy/tls.key': pem('upstream.pem'),
    '/run/secrets/admin-uri': Buffer.from('mongodb://iam-proxy:secret@mongo.internal:27017/?tls=true'),
    '/run/secrets/alice': Buffer.from('one\n'),
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
  t.equal(config.users.length, 2)
})

t.test('so are its rules, in the scope that they are for', async t => {
  const text = blocks('yaml').find(block => block.includes('permissionSet')) ?? ''
  const bytes = Buffer.from(`${text}listen: { scope: maintenance }\nupstream: { uri: 'mongodb://localhost' }\n`)
  const { users, listen } = loadConfig({ file: 'x', args: {}, env: {}, readFile: () => ({ bytes, mode: 0o400 }) })
  const { rules, problems } = compileRules(users, listen)
  t.same(problems, [])
  t.equal(rules.all.length, 3)
})

t.test('so is its example of an endpoint of a private network', async t => {
  const text = blocks('yaml').find(block => block.includes('vpce')) ?? ''
  const bytes = Buffer.from(`${text}upstream: { uri: 'mongodb://localhost' }\n`)
  const { sts } = loadConfig({ file: 'x', args: {}, env: {}, readFile: () => ({ bytes, mode: 0o400 }) })
  t.match(sts.hosts, [{ host: 'sts.eu-west-1.amazonaws.com', connect: { port: 443 } }])
})

t.test('so is its example of users that the proxy keeps', async t => {
  const text = blocks('yaml').find(block => block.includes('provision:')) ?? ''
  const files: Record<string, string> = {
    'proxy.yaml': text,
    '/run/secrets/admin-uri': 'mongodb://iam-proxy:secret@mongo.internal:27017/?tls=true',
    '/run/secrets/master': 'x'.repeat(44),
  }
  const readFile = (path: string) => ({ bytes: Buffer.from(files[path] ?? ''), mode: 0o400 })
  const { policy } = loadWithPolicy({ file: 'proxy.yaml', args: {}, env: {}, readFile })
  t.equal(policy.rules.all.length, 1)
})

t.test('its deny list is a good one, and needs its last line', async t => {
  const text = blocks('yaml').find(block => block.includes('principalId: AROA')) ?? ''
  t.same(parseDenyFile(text, 'deny.yaml').problems, [])
  t.equal(parseDenyFile(text, 'deny.yaml').all.length, 5)
  t.equal(parseDenyFile(text.replace('...\n', ''), 'deny.yaml').all.length, 0)
})

t.test('every command of the README exists', async t => {
  const help = execFileSync('node', ['dist/cli.js', '--help'], {
    cwd: root,
    encoding: 'utf8',
    env: { PATH: process.env.PATH },
  })
  const lines = [...blocks('sh').join('').split('\n'), ...readme.matchAll(/`(npm [^`]+)`/g)].map(line =>
    typeof line === 'string' ? line : (line[1] ?? ''),
  )
  for (const line of lines.filter(Boolean)) {
    const [program, word = '', script = ''] = line.split(' ')
    if (program === 'npm') t.ok(['ci', 'start', 'test'].includes(word) || scripts[script], line)
    else t.match(help, ` ${script} `, line)
  }
})
