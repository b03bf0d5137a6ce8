/**
 * Errors of YAML syntax in the words of this program. The messages of the parser may repeat parts of the file, such as a
 * tag, a directive or a line, so only their codes are used.
 */
import type { YAMLError } from 'yaml'
import { ALL_KEYS } from './keys.js'
import { findMissingBlank, MISSING_BLANK } from './missingBlank.js'

const SENTENCES: Readonly<Partial<Record<YAMLError['code'], string>>> = {
  ALIAS_PROPS: 'an alias cannot have an anchor or a tag',
  BAD_ALIAS: 'an alias has no anchor',
  BAD_DIRECTIVE: 'a line that begins with % is not a directive',
  BAD_DQ_ESCAPE: 'a text in double quotes has an escape sequence that does not exist',
  BAD_INDENT: 'the indentation is wrong',
  BAD_SCALAR_START: 'a text begins with a character that needs quotes',
  BLOCK_AS_IMPLICIT_KEY:
    'a mapping or list begins in the middle of a line; a text with a colon and a blank needs quotes',
  BLOCK_IN_FLOW: 'a block begins inside brackets or braces',
  DUPLICATE_KEY: 'a key is given twice',
  MISSING_CHAR: 'a quote, bracket, brace, colon or comma is missing',
  MULTILINE_IMPLICIT_KEY: 'a key has several lines',
  MULTIPLE_ANCHORS: 'a value has several anchors',
  MULTIPLE_DOCS: 'the file has several documents',
  MULTIPLE_TAGS: 'a value has several tags',
  TAB_AS_INDENT: 'a tab is used for indentation',
  TAG_RESOLVE_FAILED: 'a tag is unknown or does not fit its value',
  UNEXPECTED_TOKEN: 'this text is not expected here',
}

/** A sentence about the error. It repeats nothing of the file except names of settings. */
export function describeSyntaxError({ code, pos: [offset] }: YAMLError, text: string): string {
  const sentence = SENTENCES[code] ?? 'the syntax is wrong'
  const name = findMissingBlank(lineAt(text, offset).replace(/^[\s-]*/, ''), ALL_KEYS)
  return name === undefined ? sentence : `${sentence}; ${MISSING_BLANK} of ${name}`
}

function lineAt(text: string, offset: number): string {
  const start = text.lastIndexOf('\n', offset - 1) + 1
  const end = text.indexOf('\n', start)
  return text.slice(start, end < 0 ? undefined : end)
}
