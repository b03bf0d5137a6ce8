/**
 * Reads source files for the rules of style that a compiler cannot check: the length of functions, words that are private
 * images instead of terms of the field, and codes of documents outside the repository.
 */
import ts from 'typescript'

/** A piece of text that a reader sees, and where it starts. */
export type Finding = { line: number; text: string }

/** A banned word: what it looks like, and the term to use instead. */
export type BannedWord = { pattern: RegExp; instead: string }

/** What one file contains: its identifiers and single words in quotes, both split into words, and its comments and texts. */
export type SourceText = { identifiers: Finding[]; literals: Finding[]; sentences: Finding[]; longFunctions: Finding[] }

const MAX_FUNCTION_LINES = 100

/** Reads one TypeScript or JavaScript file. */
export function readSource(name: string, text: string): SourceText {
  const file = ts.createSourceFile(name, text, ts.ScriptTarget.Latest, true)
  const lineOf = (position: number) => file.getLineAndCharacterOfPosition(position).line + 1
  const found: SourceText = { identifiers: [], literals: [], sentences: [], longFunctions: [] }
  const comments = new Set<number>()

  const visit = (node: ts.Node): void => {
    for (const { pos, end } of ts.getLeadingCommentRanges(text, node.pos) ?? []) {
      if (comments.has(pos)) continue
      comments.add(pos)
      found.sentences.push({ line: lineOf(pos), text: text.slice(pos, end) })
    }
    const line = lineOf(node.getStart(file))
    if (ts.isIdentifier(node) || ts.isPrivateIdentifier(node)) {
      found.identifiers.push({ line, text: wordsOf(node.text) })
    } else if (ts.isStringLiteralLike(node) || ts.isTemplateHead(node) || ts.isTemplateMiddleOrTemplateTail(node)) {
      const list = node.text.includes(' ') ? found.sentences : found.literals
      list.push({ line, text: node.text.includes(' ') ? node.text : wordsOf(node.text) })
    } else if (ts.isFunctionLike(node)) {
      const lines = lineOf(node.end) - line + 1
      if (lines > MAX_FUNCTION_LINES && !isTable(node)) {
        found.longFunctions.push({ line, text: `${node.name?.getText(file) ?? 'a callback'} has ${lines} lines` })
      }
    }
    for (const child of node.getChildren(file)) visit(child)
  }
  visit(file)
  return found
}

/** The places where a banned word occurs. */
export function bannedWords(findings: readonly Finding[], words: readonly BannedWord[]): Finding[] {
  return findings.flatMap(({ line, text }) =>
    words.flatMap(({ pattern, instead }) =>
      [...text.matchAll(pattern)].map(match => {
        const before = text.slice(0, match.index)
        return { line: line + (before.match(/\n/g)?.length ?? 0), text: `"${match[0]}": say ${instead}` }
      }),
    ),
  )
}

/** `turnedAway`, `turned_away` and `turned-away` become words. */
export function wordsOf(name: string): string {
  return name
    .replace(/([a-z\d])([A-Z])/g, '$1 $2')
    .replace(/([A-Z]+)([A-Z][a-z])/g, '$1 $2')
    .replace(/[_\-./#@:]+/g, ' ')
}

/** A function that only returns one literal, none of whose values has statements, is a table. */
function isTable(node: ts.SignatureDeclaration): boolean {
  let body: ts.Node | undefined = 'body' in node ? node.body : undefined
  if (body && ts.isBlock(body)) {
    const [only, ...others] = body.statements
    if (!only || others.length > 0 || !ts.isReturnStatement(only)) return false
    body = only.expression
  }
  while (body && (ts.isParenthesizedExpression(body) || ts.isAsExpression(body) || ts.isSatisfiesExpression(body))) {
    body = body.expression
  }
  if (!body || !(ts.isObjectLiteralExpression(body) || ts.isArrayLiteralExpression(body))) return false
  let statements = false
  const look = (child: ts.Node): void => {
    if (ts.isBlock(child)) statements = true
    ts.forEachChild(child, look)
  }
  look(body)
  return !statements
}
