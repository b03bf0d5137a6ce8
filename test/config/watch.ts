import { mkdirSync, renameSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { after } from '../../src/clock.js'
import { readFile } from '../../src/config/reading.js'
import { fileStamp, NOT_A_FILE, recordReads, watchFiles, watchFolder } from '../../src/config/watch.js'
import { createManualClock } from '../support/clock.js'
import { createTempFolder } from '../support/program.js'

/** Watches files in memory with a manual clock. The main file names further files, one per line. */
function watchInMemory(initial: Record<string, string>, stampOf = (text: string | undefined) => `${text}`) {
  const files = new Map(Object.entries(initial))
  const clock = createManualClock()
  const listening = new Map<string, () => void>()
  const loads = { count: 0 }
  const settled: string[][] = []
  const pipes: string[] = []
  const read = (path: string) => {
    const text = files.get(path)
    if (text === undefined) throw Object.assign(new Error(path), { code: 'ENOENT' })
    return { bytes: Buffer.from(text), mode: 0o600 }
  }
  const stamp = (path: string) => stampOf(files.get(path))
  const load = (read: (path: string) => { bytes: Buffer }) => {
    loads.count++
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
  const first = recordReads(read, stamp)
  load(first.read)
  const watching = watchFiles<string[]>(
    {
      load,
      onSettled: result => settled.push(result),
      read,
      stamp,
      watchFolder: (folder, onEvent) => {
        listening.set(folder, onEvent)
        return () => listening.delete(folder)
      },
      after: clock.after,
      onUnwatchable: path => pipes.push(path),
    },
    first.snapshot,
  )
  const pass = (ms: number): void => {
    for (let passed = 0; passed < ms; passed += 50) clock.advance(50)
  }
  return {
    files,
    loads,
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

t.test('files that do not change cause no reload', async t => {
  const { pass, settled } = watchInMemory({ '/etc/main': '' })
  pass(60_000)
  t.same(settled, [])
})

t.test('a change is reported once, within a second', async t => {
  const { pass, settled, write } = watchInMemory({ '/etc/main': '' })
  pass(1_000)
  write('/etc/main', '/etc/a')
  write('/etc/a', 'of a')
  pass(300)
  t.same(settled, [['/etc/a', 'of a']])
  pass(60_000)
  t.equal(settled.length, 1)
})

t.test('a file that is being written is reported when two reads 250 ms apart are equal', async t => {
  const { pass, settled, write } = watchInMemory({ '/etc/main': 'a' })
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

t.test('a file that is cut at both reads and was written in between is not reported', async t => {
  let written = 0
  const { files, write, pass, settled } = watchInMemory({ '/etc/main': 'a\nb' }, text => `${text} ${written}`)
  for (let time = 0; time < 2_000; time += 125) {
    written++
    write('/etc/main', 'a')
    files.set('/etc/main', time % 250 === 0 ? 'a' : 'a\nb')
    pass(100)
  }
  t.same(settled, [])
})

t.test('a file that returns to its former contents is no change', async t => {
  const { pass, settled, write } = watchInMemory({ '/etc/main': 'a' })
  pass(1_000)
  write('/etc/main', '')
  pass(100)
  write('/etc/main', 'a')
  pass(60_000)
  t.same(settled, [])
})

t.test('a file that a changed file names is watched from then on, also while it is missing', async t => {
  const { pass, settled, files, listening } = watchInMemory({ '/etc/main': '' })
  pass(1_000)
  files.set('/etc/main', '/run/secrets/a')
  pass(6_000) // no event: the regular check finds it
  t.same(settled.at(-1), ['/run/secrets/a', 'none'])
  t.same([...listening.keys()], ['/etc', '/run/secrets'])
  files.set('/run/secrets/a', 'of a')
  listening.get('/run/secrets')?.()
  pass(300)
  t.same(settled.at(-1), ['/run/secrets/a', 'of a'])
})

t.test('a change between the first load and the watch is found', async t => {
  const { files, pass, settled } = watchInMemory({ '/etc/main': 'a' })
  files.set('/etc/main', 'b')
  pass(600)
  t.same(
    settled.map(([main]) => main),
    ['b'],
  )
})

t.test('a change is loaded once, and a file that was only touched is not loaded', async t => {
  let touched = 0
  const { loads, pass, settled, write } = watchInMemory({ '/etc/main': 'a' }, text => `${text} ${touched}`)
  pass(1_000)
  t.equal(loads.count, 1)
  write('/etc/main', 'b')
  pass(6_000)
  t.same([loads.count, settled], [2, [['b', 'none']]])
  touched++
  pass(6_000)
  t.same([loads.count, settled.length], [2, 1])
})

t.test('an event right after the start does not replace the first comparison of contents', async t => {
  const { files, listening, pass, settled } = watchInMemory({ '/etc/main': 'a' }, () => 'always the same')
  files.set('/etc/main', 'b')
  listening.get('/etc')?.()
  pass(600)
  t.same(settled, [['b', 'none']])
})

t.test('a folder that was replaced by one with the same files is watched anew', async t => {
  let replaced = 0
  const { listening, pass, settled } = watchInMemory({ '/etc/main': '' }, text => `${text} ${replaced}`)
  pass(1_000)
  const before = listening.get('/etc')
  replaced++
  pass(6_000)
  t.not(listening.get('/etc'), before)
  t.equal(listening.size, 1)
  t.same(settled, [])
})

t.test('a requested reload is reported after two reads, whether or not anything has changed', async t => {
  const { pass, settled, watching } = watchInMemory({ '/etc/main': 'a' })
  pass(1_000)
  watching.requestReload()
  pass(200)
  t.equal(settled.length, 0)
  pass(50)
  t.equal(settled.length, 1)
  watching.requestReload()
  watching.requestReload()
  pass(10_000)
  t.equal(settled.length, 2)
})

t.test('a closed watcher leaves no timer and no watched folder', async t => {
  const { watching, listening, timers, pass, settled, write } = watchInMemory({ '/etc/main': 'a' })
  watching.close()
  watching.requestReload()
  write('/etc/main', 'b')
  pass(10_000)
  t.same([listening.size, timers(), settled.length], [0, 0, 0])
})

t.test(
  'a pipe can be read only once, so it is not watched and a requested reload is reported as impossible',
  async t => {
    const { timers, listening, watching, pipes, pass, settled } = watchInMemory({ '/etc/main': 'a' }, () => NOT_A_FILE)
    t.same([timers(), listening.size], [0, 0])
    t.same(pipes, [])
    watching.requestReload()
    pass(1_000)
    t.same([pipes, settled], [['/etc/main'], []])
    t.equal(fileStamp('/dev/null'), NOT_A_FILE)
  },
)

/** Watches a file on disk. `next` resolves with the next contents that are reported. */
function onDisk(t: Test, path: string) {
  const read = (through = readFile) => `${through(path).bytes}`
  const initial = recordReads(readFile, fileStamp)
  read(initial.read)
  const waiting: ((text: string) => void)[] = []
  const watching = watchFiles(
    {
      load: read,
      onSettled: text => waiting.shift()?.(text),
      read: readFile,
      stamp: fileStamp,
      watchFolder,
      after,
      onUnwatchable: t.fail,
    },
    initial.snapshot,
  )
  t.teardown(() => watching.close())
  return { next: () => new Promise<string>(resolve => waiting.push(resolve)) }
}

t.test('a file that is replaced by a rename is reloaded', async t => {
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

t.test('a symbolic link that is swapped in the middle of the path, as Kubernetes does, is followed', async t => {
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

t.test('a folder that cannot be watched causes no error', async t => {
  watchFolder('/nowhere/at/all', () => {})()
  t.match(fileStamp('/nowhere/at/all'), 'none: ENOENT')
})
