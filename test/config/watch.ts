import { mkdirSync, renameSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { after } from '../../src/clock.js'
import { readFile } from '../../src/config/reading.js'
import { lookAt, NO_FILE, noting, watchFiles, watchFolder } from '../../src/config/watch.js'
import { createManualClock } from '../support/clock.js'
import { createTempFolder } from '../support/program.js'

/** Files in memory, a clock moved by hand, and a configuration that names its further files, one a line. */
function desk(initial: Record<string, string>, look?: (path: string) => string) {
  const files = new Map(Object.entries(initial))
  const clock = createManualClock()
  const listening = new Map<string, () => void>()
  const settled: string[][] = []
  const pipes: string[] = []
  const read = (path: string) => {
    const text = files.get(path)
    if (text === undefined) throw Object.assign(new Error(path), { code: 'ENOENT' })
    return { bytes: Buffer.from(text), mode: 0o600 }
  }
  const tell = look ?? ((path: string) => `${files.get(path)}`)
  const attempt = (read: (path: string) => { bytes: Buffer }) => {
    const texts: string[] = []
    const visit = (path: string): void => {
      try {
        const text = `${read(path).bytes}`
        texts.push(text)
        if (path === '/etc/main') for (const line of text.split('\n').filter(Boolean)) visit(line)
      } catch {
        texts.push('none')
      }
    }
    visit('/etc/main')
    return texts
  }
  const first = noting(read, tell)
  attempt(first.read)
  const watching = watchFiles<string[]>(
    {
      attempt,
      settled: outcome => settled.push(outcome),
      read,
      look: tell,
      watch: (folder, moved) => {
        listening.set(folder, moved)
        return () => listening.delete(folder)
      },
      after: clock.after,
      deaf: path => pipes.push(path),
    },
    first.noted,
  )
  const pass = (ms: number): void => {
    for (let passed = 0; passed < ms; passed += 50) clock.advance(50)
  }
  return {
    files,
    settled,
    pipes,
    listening,
    watching,
    pass,
    timers: clock.waiting,
    write(path: string, text: string) {
      files.set(path, text)
      listening.get('/etc')?.()
    },
  }
}

t.test('what does not change settles nothing', async t => {
  const { pass, settled } = desk({ '/etc/main': '' })
  pass(60_000)
  t.same(settled, [])
})

t.test('a change settles within a second, once', async t => {
  const { pass, settled, write } = desk({ '/etc/main': '' })
  pass(1_000)
  write('/etc/main', '/etc/a')
  write('/etc/a', 'of a')
  pass(300)
  t.same(settled, [['/etc/a', 'of a']])
  pass(60_000)
  t.equal(settled.length, 1)
})

t.test('a file that is being written counts when two reads 250 ms apart are equal', async t => {
  const { pass, settled, write } = desk({ '/etc/main': 'a' })
  pass(1_000)
  for (const text of ['a\nb', 'a\nb\nc', 'a\nb\nc\nd']) {
    write('/etc/main', text)
    pass(200)
  }
  t.same(settled, [])
  pass(500)
  t.same(
    settled.map(([main]) => main),
    ['a\nb\nc\nd'],
  )
})

t.test('a file that is cut at both reads, and was written in between, is not believed', async t => {
  let written = 0
  const { files, write, pass, settled } = desk({ '/etc/main': 'a\nb' }, path => `${files.get(path)} ${written}`)
  for (let time = 0; time < 2_000; time += 125) {
    written++
    write('/etc/main', 'a')
    files.set('/etc/main', time % 250 === 0 ? 'a' : 'a\nb')
    pass(100)
  }
  t.same(settled, [])
})

t.test('what comes back to what it was is no change', async t => {
  const { pass, settled, write } = desk({ '/etc/main': 'a' })
  pass(1_000)
  write('/etc/main', '')
  pass(100)
  write('/etc/main', 'a')
  pass(60_000)
  t.same(settled, [])
})

t.test('a file that a changed one names is watched from then on, one that is gone comes back', async t => {
  const { pass, settled, files, listening } = desk({ '/etc/main': '' })
  pass(1_000)
  files.set('/etc/main', '/run/secrets/a')
  pass(6_000) // nothing tells of it: the look finds it
  t.same(settled.at(-1), ['/run/secrets/a', 'none'])
  t.same([...listening.keys()], ['/etc', '/run/secrets'])
  files.set('/run/secrets/a', 'of a')
  listening.get('/run/secrets')?.()
  pass(300)
  t.same(settled.at(-1), ['/run/secrets/a', 'of a'])
})

t.test('what changed between the start and the watch is found', async t => {
  const { files, pass, settled } = desk({ '/etc/main': 'a' })
  files.set('/etc/main', 'b')
  pass(600)
  t.same(
    settled.map(([main]) => main),
    ['b'],
  )
})

t.test('asked for, it settles whether or not anything changed, and after two reads even then', async t => {
  const { pass, settled, watching } = desk({ '/etc/main': 'a' })
  pass(1_000)
  watching.ask()
  pass(200)
  t.equal(settled.length, 0)
  pass(50)
  t.equal(settled.length, 1)
  watching.ask()
  watching.ask()
  pass(10_000)
  t.equal(settled.length, 2)
})

t.test('closed, it leaves neither a timer nor a watched folder', async t => {
  const { watching, listening, timers, pass, settled, write } = desk({ '/etc/main': 'a' })
  watching.close()
  watching.ask()
  write('/etc/main', 'b')
  pass(10_000)
  t.same([listening.size, timers(), settled.length], [0, 0, 0])
})

t.test('a pipe is read once, so it is not watched, and whoever asks for another reading is told', async t => {
  const { timers, listening, watching, pipes, pass, settled } = desk({ '/etc/main': 'a' }, () => NO_FILE)
  t.same([timers(), listening.size], [0, 0])
  t.same(pipes, [])
  watching.ask()
  pass(1_000)
  t.same([pipes, settled], [['/etc/main'], []])
  t.equal(lookAt('/dev/null'), NO_FILE)
})

/** The same on a disk: resolves with what settled, as often as it is asked. */
function onDisk(t: Test, path: string) {
  const read = (through = readFile) => `${through(path).bytes}`
  const first = noting(readFile, lookAt)
  read(first.read)
  const waiting: ((text: string) => void)[] = []
  const watching = watchFiles(
    {
      attempt: read,
      settled: text => waiting.shift()?.(text),
      read: readFile,
      look: lookAt,
      watch: watchFolder,
      after,
      deaf: t.fail,
    },
    first.noted,
  )
  t.teardown(() => watching.close())
  return { next: () => new Promise<string>(resolve => waiting.push(resolve)) }
}

t.test('a rename in place of a file is seen', async t => {
  const folder = createTempFolder(t)
  const path = join(folder, 'main')
  writeFileSync(path, 'a')
  const { next } = onDisk(t, path)
  for (const text of ['b', 'c']) {
    const settled = next()
    writeFileSync(`${path}.new`, text)
    renameSync(`${path}.new`, path)
    t.equal(await settled, text)
  }
})

t.test('so is a link swapped in the middle of the path, as Kubernetes does', async t => {
  const folder = createTempFolder(t)
  const publish = (name: string, text: string): void => {
    mkdirSync(join(folder, name))
    writeFileSync(join(folder, name, 'main'), text)
    symlinkSync(name, join(folder, '..data_tmp'))
    renameSync(join(folder, '..data_tmp'), join(folder, '..data'))
  }
  publish('..1', 'a')
  symlinkSync(join('..data', 'main'), join(folder, 'main'))
  const { next } = onDisk(t, join(folder, 'main'))
  for (const [name, text] of [
    ['..2', 'b'],
    ['..3', 'c'],
  ] as const) {
    const settled = next()
    publish(name, text)
    t.equal(await settled, text)
  }
})

t.test('a folder that cannot be watched is no trouble', async t => {
  watchFolder('/nowhere/at/all', () => {})()
  t.match(lookAt('/nowhere/at/all'), 'none: ENOENT')
})
