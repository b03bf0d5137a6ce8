import t from 'tap'
import { hasEndMark } from '../../src/config/endMark.js'

t.test('the last line that is neither blank nor a comment is the mark', async t => {
  for (const text of [
    'a: 1\n...\n',
    'a: 1\n...',
    'a: 1\r\n...\r\n',
    'a: 1\r\n...',
    'a: 1\n... \t\n',
    'a: 1\n... # the end\n',
    'a: 1\n...\n\n  \n# written by hand\n  # and more\n',
    '...',
  ]) {
    t.ok(hasEndMark(text), JSON.stringify(text))
  }
  for (const text of [
    '',
    '\n',
    'a: 1\n',
    'a: 1\n..\n',
    'a: 1\n..',
    'a: 1\n....\n',
    'a: 1\n ...\n',
    'a: 1\n...\nb: 1\n',
    'a: 1\n# ...\n',
    'a: 1\n...# no comment\n',
    'a: ...\n',
  ]) {
    t.notOk(hasEndMark(text), JSON.stringify(text))
  }
})
