import t from 'tap'
import { boundValue, escapeUnprintable, truncate } from '../src/printable.js'

t.test('unprintable characters become escape sequences, and others stay', async t => {
  for (const [text, escaped] of [
    ['plain é 名 🙂 "\\', 'plain é 名 🙂 "\\'],
    ['\u001b[2J', '\\u001b[2J'],
    ['a\r\nb', 'a\\u000d\\u000ab'],
    ['\u009b31m', '\\u009b31m'],
    ['a\u2028b\u2029', 'a\\u2028b\\u2029'],
    ['a\u202egpj.exe', 'a\\u202egpj.exe'],
    ['\ud83d', '\\ud83d'],
    ['\u{e0041}', '\\udb40\\udc41'],
  ] as const) {
    t.equal(escapeUnprintable(text), escaped)
  }
})

t.test('a truncated text ends with an ellipsis and splits no character', async t => {
  t.equal(truncate('abc', 3), 'abc')
  t.equal(truncate('abcd', 3), 'ab…')
  t.equal(truncate('a🙂bc', 3), 'a…')
  t.equal(truncate('a🙂bc', 4), 'a🙂…')
})

t.test('a value within the bounds stays as it is, and each part beyond them is truncated', async t => {
  const value = { text: 'abc', list: [1, null, { deep: true }], missing: undefined }
  t.equal(boundValue(value, 3), value)
  const long = Array.from({ length: 101 }, (_, index) => index)
  const wide = Object.fromEntries(long.map(index => [`k${index}`, index]))
  const deep = { a: { b: { c: { d: { e: { f: { g: 1 } } } } } } }
  t.same(boundValue({ text: 'abcd', other: 1 }, 3), { text: 'ab…', other: 1 })
  t.same(boundValue({ list: long }, 3), { list: [...long.slice(0, 100), '…'] })
  t.equal(Object.keys(boundValue(wide, 3) as object).length, 101)
  t.same(boundValue(deep, 3), { a: { b: { c: { d: { e: { f: '…' } } } } } })
  t.same(boundValue({ [`k${'y'.repeat(500)}`]: 1 }, 3), { [`k${'y'.repeat(498)}…`]: 1 })
  t.same(boundValue({ when: { toJSON: () => 'abcd' } }, 3), { when: 'ab…' })
})
