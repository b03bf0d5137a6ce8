/** The npm packages: packed on a clean clone, installed from the packed files, and used as an operator uses them. */
import { readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { credentialEnvironment, requireClients, runMongosh } from '../support/clients.js'
import { startDemoWith } from '../support/demo.js'
import { createTempFolder } from '../support/program.js'
import {
  copyWorkTree,
  installPackages,
  mustRun,
  packPackages,
  root,
  runCommand,
  startInGroup,
} from './support/packages.js'

await requireClients('mongosh')

const packed = await packPackages(copyWorkTree(t))
const installation = await installPackages(t, packed.proxy, packed.sandbox)
const command = join(installation, 'node_modules/.bin/mongo-iam-proxy')
const proxyFolder = join(installation, 'node_modules/mongo-iam-proxy')
const { version, dependencies, optionalDependencies } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))

t.test('the package holds the program, the files of the status page and the license', async t => {
  const files = (await mustRun('tar', ['-tzf', packed.proxy], { cwd: root })).trim().split('\n')
  for (const file of [
    'dist/cli.js',
    'web/status.css',
    'web/status.js',
    'docs/reference/config.schema.json',
    'LICENSE',
    'NOTICE',
    'README.md',
  ]) {
    t.ok(files.includes(`package/${file}`), file)
  }
  t.same(
    files.filter(file => /\.ts$|\.map$|\/(src|test|sandbox|node_modules)\/|tsconfig/.test(file)),
    [],
  )
  t.ok(statSync(packed.proxy).size < 1024 ** 2, 'less than 1 MiB')
})

t.test('the installation has no development dependency', async t => {
  const installed = readdirSync(join(installation, 'node_modules'))
  for (const name of ['tap', 'typescript', '@biomejs', 'playwright-core', 'fast-check'])
    t.notOk(installed.includes(name))
  for (const name of Object.keys({ ...dependencies, ...optionalDependencies })) {
    t.ok(statSync(join(installation, 'node_modules', name)).isDirectory(), name)
  }
  const listed = await runCommand('npm', ['ls', '--all', '--omit=dev'], { cwd: installation })
  t.equal(listed.code, 0, listed.stderr)
})

t.test('--version and check run', async t => {
  const folder = createTempFolder(t)
  t.match(await runCommand(command, ['--version'], { cwd: folder }), { code: 0, stdout: `${version}\n`, stderr: '' })
  const file = join(folder, 'proxy.yaml')
  writeFileSync(file, 'upstream: { uri: "mongodb://localhost:27017/" }\n...\n')
  const checked = await runCommand(command, ['check', '--offline', '--config', file], { cwd: folder })
  t.match(checked, { code: 0, stderr: '' })
  const wrong = await runCommand(command, ['check', '--offline'], { cwd: folder })
  t.match(wrong, { code: 78, stderr: /upstream\.uri: required/ })
})

t.test('the demo serves a login of mongosh, and its status page has its files', async t => {
  const demo = await startDemoWith(t, { installed: join(proxyFolder, 'dist/cli.js') })
  const args = [demo.uri(), '--quiet', '--json', '--eval', 'db.runCommand({ connectionStatus: 1 }).authInfo']
  const { code, stdout } = await runMongosh(t, args, { env: credentialEnvironment(demo.alice) })
  t.match({ code, ...JSON.parse(stdout) }, { code: 0, authenticatedUsers: [{ user: 'alice', db: 'admin' }] })
  const page = await fetch(demo.ready.admin)
  t.equal(page.status, 200)
  const addresses = [...(await page.text()).matchAll(/(?:href|src)="(\/[^"]+\.(?:css|js))"/g)].map(
    ([, path = '']) => path,
  )
  t.ok(addresses.length >= 4)
  for (const path of addresses) t.equal((await fetch(new URL(path, demo.ready.admin))).status, 200, path)
})

t.test('npx runs the demo from both packages, and without the second one prints how', async t => {
  const cwd = createTempFolder(t)
  const npx = ['--yes', '--prefer-offline', '-p', packed.proxy]
  const { code, stderr } = await runCommand('npx', [...npx, 'mongo-iam-proxy', 'demo'], { cwd })
  t.equal(code, 64)
  t.match(stderr, 'npx -p mongo-iam-proxy -p mongo-iam-proxy-sandbox mongo-iam-proxy demo')
  const ports = ['--port', '0', '--admin-port', '0']
  const args = [...npx, '-p', packed.sandbox, 'mongo-iam-proxy', 'demo', '--json', ...ports]
  const ready = await startInGroup(t, 'npx', args, { cwd })
  t.match(JSON.parse(ready), { event: 'ready', proxy: { host: '127.0.0.1' } })
})
