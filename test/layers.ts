import { readdirSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path/posix'
import t from 'tap'

const SRC = new URL('../src/', import.meta.url)
const SANDBOX = new URL('../sandbox/', import.meta.url)

/** The layers, from top to bottom: a file imports only what stands in its own row or below it. */
const LAYERS = [
  ['cli.ts'],
  ['commands/'],
  ['app/'],
  ['client/'],
  [
    'admin/',
    'page/',
    'config/',
    'revocation/',
    'provisioning/',
    'ldap/',
    'users/',
    'upstream/',
    'identity/',
    'budget/',
    'sasl/',
    'wire/',
  ],
  ['audit/'],
  ['clock.ts', 'random.ts', 'log.ts', 'backoff.ts', 'ipAddress.ts', 'redaction.ts'],
  ['logEvents.ts'],
  ['errors.ts'],
  ['logFields.ts', 'printable.ts'],
]

/** Files without a socket, file, clock or randomness of their own: the caller passes in what they need. */
const PURE = [
  /^commands\/doctor\/(diagnosis|stsEndpoint|(network|hello|credential|login)Diagnosis)\.ts$/,
  /^config\/(nearest|missingBlank|endMark)\.ts$/,
  /^wire\//,
  /^sasl\//,
  /^budget\//,
  /^(backoff|ipAddress|printable|redaction)\.ts$/,
  /^client\/(handshake|acceptQueue|addressIndex|closing|connectionTable|drivers|logSampler|openTransactions|tlsCause)\.ts$/,
  /^identity\/(arn|detachedString|credentialProblems|remedy|credentialFingerprint|partition|proof|refusalCache|clockSync|identityCache|reply|outcome|retry)\.ts$/,
  /^users\/(rules|match|principals|permissionSets|arnProblems|roles|networks|conditions|directoryUsers|entryChange|collectionRole|lostRoles)\.ts$/,
  /^audit\/(events|schema)\.ts$/,
  /^page\/(sections\/\w+|html|times|quantities|arn|address|prose|table|details|chart|sections|document|snapshot|series|recentCounts|problems|advice)\.ts$/,
  /^revocation\/(denials|denyFile|liveConnections)\.ts$/,
  /^app\/(ruleLogins)\.ts$/,
  /^provisioning\/(password|roleReductions)\.ts$/,
  /^upstream\/(address|deadline|edition|helloReply|topologyVersion|metadata|topologyDescription|topologyView|primaryTerm|memberStatus)\.ts$/,
]
const IMPURE_MODULES = /^(node:)?(net|tls|fs|http|https|dns|dgram|child_process|timers)(\/|$)|^undici$/
const IMPURE_CODE: [string, RegExp][] = [
  ['the clock', /\bDate\.now\b|\bnew Date\(\)|\bperformance\b|\bhrtime\b/],
  ['a timer', /\bset(Timeout|Interval|Immediate)\b|\bAbortSignal\.timeout\b/],
  ['chance', /\bMath\.random\b|\brandom(Bytes|UUID|Int|FillSync)\b/],
  ['the process', /(?<!['`])\bprocess\./],
]

/** The process belongs to cli.ts; log.ts knows the default destination of the log. */
const PROCESS = ['cli.ts', 'log.ts']

type Import = { to: string; dynamic: boolean; isType?: boolean }
type File = { name: string; text: string; code: string; imports: Import[] }

const files = filesBelow(SRC)
const sandboxFiles = filesBelow(new URL('src/', SANDBOX))
const allFiles = [...files, ...sandboxFiles]

function filesBelow(folder: URL): File[] {
  return readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .map(name => name.replaceAll('\\', '/'))
    .filter(name => name.endsWith('.ts'))
    .sort()
    .map(name => {
      const text = readFileSync(new URL(name, folder), 'utf8')
      return {
        name,
        text,
        code: withoutComments(text),
        imports: importsOf(name, text),
      }
    })
}

/** Comments may name what code may not. A string with two slashes loses its end, which hides nothing that is looked for. */
function withoutComments(text: string): string {
  return text.replace(/\/\*[\s\S]*?\*\//g, '').replace(/(^|\s)\/\/.*$/gm, '$1')
}

/** What a file imports: its own as paths below src, the others by name. */
function importsOf(name: string, text: string): Import[] {
  const resolved = (to: string) => (to.startsWith('.') ? join(dirname(name), to).replace(/\.js$/, '.ts') : to)
  return [
    ...[...text.matchAll(/^(?:import|export)\b[^'"]*?from '([^']+)'|^import '([^']+)'/gm)].map(([all, from, bare]) => ({
      to: resolved(from ?? bare ?? ''),
      dynamic: false,
      isType: /^(import|export) type\b/.test(all),
    })),
    ...[...text.matchAll(/\bimport\('([^']+)'\)/g)].map(([, to = '']) => ({ to: resolved(to), dynamic: true })),
  ]
}

const inside = ({ to }: Import) => to.endsWith('.ts')
/** The row of LAYERS that a file stands in, counted from above; -1 for none. */
const rank = (name: string) =>
  LAYERS.findIndex(row => row.some(entry => name === entry || (entry.endsWith('/') && name.startsWith(entry))))

t.test('the imports of all files are seen', async t => {
  for (const group of [files, sandboxFiles]) {
    const names = new Set(group.map(({ name }) => name))
    for (const { name, imports, code } of group) {
      for (const { to } of imports.filter(inside)) t.ok(names.has(to), `${name} imports ${to}`)
      t.equal(
        imports.filter(({ dynamic }) => !dynamic).length,
        (code.match(/^(import|export)\b[^;=(]*?'$/gm) ?? []).length,
      )
      t.notMatch(code, /\brequire\(/, name)
    }
  }
  t.ok(files.length > 40)
})

t.test('every file belongs to a layer', async t => {
  t.same(
    files.filter(({ name }) => rank(name) < 0).map(({ name }) => name),
    [],
  )
})

t.test('imports point down the layers, never up', async t => {
  const up = files.flatMap(({ name, imports }) =>
    imports
      .filter(inside)
      .filter(({ to }) => {
        const neighbours = rank(name) === rank(to)
        const folder = name.includes('/')
        return neighbours ? !folder : rank(to) < rank(name)
      })
      .map(({ to }) => `${name} → ${to}`),
  )
  t.same(up, [])
})

t.test('there is no circle, of files or of folders', async t => {
  const file = (name: string) => name
  const folder = (name: string) => (name.includes('/') ? name.slice(0, name.indexOf('/')) : name)
  for (const [of, group] of [
    [file, files],
    [file, sandboxFiles],
    [folder, files],
  ] as const) {
    const edges = new Map<string, Set<string>>()
    for (const { name, imports } of group) {
      const from = edges.get(of(name)) ?? new Set()
      edges.set(of(name), from)
      for (const { to, dynamic } of imports) if (to.endsWith('.ts') && !dynamic && of(to) !== of(name)) from.add(of(to))
    }
    t.same(circle(edges), [])
  }
})

/** The names of one circle, in order; empty where there is none. */
function circle(edges: Map<string, Set<string>>): string[] {
  const done = new Set<string>()
  const walk = (name: string, path: string[]): string[] => {
    if (path.includes(name)) return [...path.slice(path.indexOf(name)), name]
    if (done.has(name)) return []
    for (const to of edges.get(name) ?? []) {
      const found = walk(to, [...path, name])
      if (found.length > 0) return found
    }
    done.add(name)
    return []
  }
  for (const name of edges.keys()) {
    const found = walk(name, [])
    if (found.length > 0) return found
  }
  return []
}

t.test('a circle would be found', async t => {
  const edges = { a: ['b'], b: ['c', 'd'], c: [], d: ['b'] }
  t.same(circle(new Map(Object.entries(edges).map(([name, to]) => [name, new Set(to)]))), ['b', 'd', 'b'])
})

t.test('only the demo loads the sandbox, and only at run time', async t => {
  const importers = files.flatMap(({ name, text }) =>
    [...text.matchAll(/^.*'mongo-iam-proxy-sandbox'.*$/gm)].map(([line]) => ({
      name,
      form: /\bimport type\b|\btypeof import\b/.test(line) ? 'type' : /\bawait import\(/.test(line) ? 'dynamic' : line,
    })),
  )
  t.same(new Set(importers.map(({ name }) => name)), new Set(['commands/demo.ts']))
  t.equal(importers.filter(({ form }) => form === 'dynamic').length, 1)
  t.same(
    importers.filter(({ form }) => form !== 'dynamic' && form !== 'type' && !form.startsWith('const PACKAGE')),
    [],
  )
  t.same(
    files.filter(({ text }) => /['/]sandbox\//.test(text)).map(({ name }) => name),
    [],
    'no file names a path into the sandbox',
  )
})

t.test('the sandbox imports nothing of the proxy', async t => {
  const outside = sandboxFiles.flatMap(({ name, imports }) =>
    imports
      .filter(({ to }) => to.startsWith('../') || to.startsWith('mongo-iam-proxy'))
      .map(({ to }) => `${name} → ${to}`),
  )
  t.ok(sandboxFiles.length > 40)
  t.same(outside, [])
})

t.test('the sandbox declares the packages that it imports, and no other', async t => {
  const { dependencies } = JSON.parse(readFileSync(new URL('package.json', SANDBOX), 'utf8'))
  const imported = sandboxFiles.flatMap(({ imports }) =>
    imports.map(({ to }) => to).filter(to => !/\.ts$|^node:/.test(to)),
  )
  t.same([...new Set(imported)].sort(), Object.keys(dependencies).sort())
})

t.test('pure files have no socket, no file, no clock and no chance', async t => {
  const pure = files.filter(({ name }) => PURE.some(pattern => pattern.test(name)))
  for (const pattern of PURE)
    t.ok(
      pure.some(({ name }) => pattern.test(name)),
      `${pattern} is there`,
    )
  for (const { name, imports, code } of pure) {
    t.same(
      imports.filter(({ to }) => IMPURE_MODULES.test(to)).map(({ to }) => to),
      [],
      name,
    )
    for (const [what, pattern] of IMPURE_CODE) t.notMatch(code, pattern, `${name}: ${what}`)
  }
})

t.test('pure files import pure files, errors, log, and types', async t => {
  const pure = (name: string) => PURE.some(pattern => pattern.test(name))
  const odd = files
    .filter(({ name }) => pure(name))
    .flatMap(({ name, imports }) =>
      imports
        .filter(inside)
        .filter(({ to, isType }) => !pure(to) && !isType && to !== 'errors.ts' && to !== 'log.ts')
        .map(({ to }) => `${name} → ${to}`),
    )
  t.same(odd, [])
})

t.test('only cli.ts touches the process', async t => {
  const touching = allFiles.filter(({ code }) => /(?<!['`])\bprocess\./.test(code)).map(({ name }) => name)
  t.same(
    touching.filter(name => !PROCESS.includes(name)),
    [],
  )
})

t.test('every file begins by saying what it is', async t => {
  for (const { name, text } of allFiles) t.match(text, /^(#!.*\n)?\/\*\*[ \n]/, name)
})

t.test('no file has a default export, and imports name their file', async t => {
  for (const { name, code, imports } of allFiles) {
    t.notMatch(code, /^export default/m, name)
    for (const { to } of imports) t.match(to, /\.ts$|^[^.]/, `${name} imports ${to}`)
  }
})
