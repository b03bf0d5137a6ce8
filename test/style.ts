import { execFileSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import t from 'tap'
import { type BannedWord, bannedWords, type Finding, readSource, wordsOf } from './support/style.js'

const ROOT = new URL('..', import.meta.url)

/** Files that others wrote, and files that have to name the banned words. */
const EXEMPT =
  /^(test\/(style|docs)\.ts|CHANGELOG\.md|LICENSE|NOTICE|.*(package-lock\.json|\.sum|\.mod|\.pem|operations\.json))$/

const say = (instead: string, { source, flags }: RegExp): BannedWord => ({
  pattern: new RegExp(source, `g${flags}`),
  instead,
})

/** Images that the field has terms for. They stand neither in names nor in sentences. */
const IMAGES: readonly BannedWord[] = [
  say('accept queue', /\blobb(y|ies)\b/i),
  say('clients, connections, or accept queue', /\bcrowd(s|ed|ing)?\b/i),
  say('client, unauthenticated connection, or principal without a rule', /\bstrangers?\b/i),
  say('reject, refuse or close', /\bturn(s|ed|ing)? away\b/i),
  say('acquire, or lease', /\b(lend|lends|lending|lent)\b/i),
  say('pending replies', /\bledgers?\b/i),
  say('cached hello, or server monitor', /\bmirror(s|ed|ing)?\b/i),
  say('log sampling', /\bsparing(ly)?\b/i),
  say('receives, is answered, or the name of the value', /\btold\b/i),
  say('deadline, timeout, or abort', /\bpatien(ce|t)\b/i),
  say('the noun: client, caller, principal', /\bwhoever\b/i),
  say('evicted, or idle the longest', /\bsent away\b/i),
  say('circuit open, or ejected', /\bleft alone\b/i),
  say('single flight', /\bcoalesc(e|ed|es|ing)\b/i),
  say('connect, or attempt', /\bknock(s|ed|ing)?\b/i),
  say('close, or endSessions', /\bgoodbyes?\b/i),
  say('close reason', /\bdoom(s|ed)?\b/i),
  say('cache, or cached', /\bmemories\b|\bremembered\b/i),
  say('backpressure, or paused', /\bstall(s|ed|ing)?\b/i),
  say('reauthenticate', /\brelogins?\b/i),
]

/** Words that are ordinary in a sentence and say nothing as a name. */
const NAMES: readonly BannedWord[] = [
  say('a verb with its object', /\basking\b/i),
  say('the noun: cached, stored, retained', /\bkept\b/i),
  say('permit, or yieldToEventLoop', /\bturns?\b/i),
  say('recordOutcome, or observed', /^saw$/i),
  say('authenticate, or path', /\broads?\b/i),
  say('unavailable, or unreachable', /\baway\b/i),
  say('pending', /\bowed\b/i),
  say('acquireTokens, or the budget', /\bspend\b/i),
  say('the noun: client, caller, principal', /\b(who|whom|nobody|somebody)\b/i),
  say('test proxy', /\bhouse\b/i),
  say('options, or the noun', /^Parts$/),
]

/** Codes of pages that this repository does not hold, such as R27, D12 and F9. */
const OUTSIDE_CODES: readonly BannedWord[] = [
  say('the reason in words', /(?<![\w\\%])[RDFC]\d{1,2}(?![\w%])/),
  say('nothing: the length of functions is checked', /\bit is long because\b/i),
]

const files = execFileSync('git', ['ls-files', '-z', '--cached', '--others', '--exclude-standard'], {
  cwd: ROOT,
  encoding: 'utf8',
})
  .split('\0')
  .filter(name => name !== '' && !EXEMPT.test(name) && existsSync(new URL(name, ROOT)))

const isCode = (name: string) => /\.(ts|mjs)$/.test(name)
const isText = (name: string) => /\.(md|go|py|ya?ml|txt)$|^(Dockerfile|\.ci\/run|package\.json)$/.test(name)
const read = (name: string) => readFileSync(new URL(name, ROOT), 'utf8')
const code = files.filter(isCode).map(name => ({ name, ...readSource(name, read(name)) }))
const prose = files.filter(isText).map(name => ({ name, sentences: [{ line: 1, text: read(name) }] as Finding[] }))
const located = (name: string, findings: Finding[]) => findings.map(({ line, text }) => `${name}:${line} ${text}`)

t.test('no function outside of tables is longer than 100 lines', async t => {
  t.same(
    code.flatMap(({ name, longFunctions }) => located(name, longFunctions)),
    [],
  )
})

t.test('files, identifiers, settings, metrics and events have names of the field', async t => {
  const banned = [...IMAGES, ...NAMES]
  t.same(
    files.flatMap(name => located(name, bannedWords([{ line: 0, text: wordsOf(name) }], banned))),
    [],
  )
  t.same(
    code.flatMap(({ name, identifiers }) => located(name, bannedWords(identifiers, banned))),
    [],
  )
  t.same(
    code.flatMap(({ name, literals }) => located(name, bannedWords(literals, IMAGES))),
    [],
  )
})

t.test('comments, documents and messages use the terms of the field', async t => {
  t.same(
    [...code, ...prose].flatMap(({ name, sentences }) => located(name, bannedWords(sentences, IMAGES))),
    [],
  )
})

t.test('nothing refers to a page outside of the repository', async t => {
  t.same(
    [...code, ...prose].flatMap(({ name, sentences }) => located(name, bannedWords(sentences, OUTSIDE_CODES))),
    [],
  )
})

t.test('a long function, a banned name and a banned sentence would be found', async t => {
  const long = `function f() {\n${'g()\n'.repeat(100)}}`
  t.same(readSource('a.ts', long).longFunctions, [{ line: 1, text: 'f has 102 lines' }])
  const table = `const f = () => ({\n${'a: 1,\n'.repeat(100)}})`
  t.same(readSource('a.ts', table).longFunctions, [])
  const factory = `const f = () => ({\n${'a() { g() },\n'.repeat(100)}})`
  t.same(readSource('a.ts', factory).longFunctions, [{ line: 1, text: 'a callback has 102 lines' }])
  const { identifiers, sentences } = readSource('a.ts', '/** The\n * lobby. */\nconst turnedAway = "is told by R27"')
  t.same(bannedWords(identifiers, IMAGES), [{ line: 3, text: '"turned Away": say reject, refuse or close' }])
  t.same(
    bannedWords(sentences, IMAGES).map(({ line }) => line),
    [2, 3],
  )
  t.equal(bannedWords(sentences, OUTSIDE_CODES).length, 1)
})
