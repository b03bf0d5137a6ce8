import t from 'tap'
import { escapeUnprintable, truncate } from '../src/printable.js'

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
