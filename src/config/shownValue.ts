/**
 * The value of a setting as the audit trail may show it. A valid value can still be a secret in the wrong place: a password
 * is a valid name. Numbers, durations, addresses, absolute paths and words of the proxy's own are shown; any other text is
 * described.
 */
import { z } from 'zod'
import { findPartition } from '../identity/partition.js'
import { parseIPAddress } from '../ipAddress.js'
import { describePath, describeText } from '../redaction.js'
import type { SettingDefinition } from './definition.js'

/** Words that more than one kind of setting accepts. */
const WORDS: readonly string[] = ['true', 'false', 'off', 'stdout', 'stderr', 'localhost']

/** `value` is as it was written: parsed YAML, or the text of a flag or variable. */
export function describeValue(definition: Omit<SettingDefinition, 'about'>, value: unknown): string {
  const { secret, schema, fallback, fileOnly } = definition
  if (secret) return 'not shown'
  if (fileOnly) return Array.isArray(value) ? `${value.length} entries` : 'not shown'
  const isOwnWord = (text: string) => text === fallback || WORDS.includes(text) || schema instanceof z.ZodEnum
  return describePart(value, isOwnWord)
}

function describePart(value: unknown, isOwnWord: (text: string) => boolean): string {
  if (Array.isArray(value)) return value.map(part => describePart(part, isOwnWord)).join(', ') || 'an empty list'
  if (typeof value === 'object' && value !== null) {
    return Object.values(value)
      .map(part => describePart(part, isOwnWord))
      .join(' at ')
  }
  const text = String(value)
  if (isOwnWord(text) || isAddress(text) || findPartition(text) !== undefined) return text
  if (text.includes(',')) return describePart(text.split(','), isOwnWord)
  if (text.startsWith('/')) return describePath(text)
  return describeText(text).replace(/^"(.*)"$/, '$1')
}

/** An address, with or without a port or a prefix. A zone may be any text. */
function isAddress(text: string): boolean {
  const [, address = ''] = /^\[?([0-9a-f.:]+?)\]?(?:\/\d{1,3}|(?<=[\d.]{7,}|\]):\d{1,5})?$/i.exec(text) ?? []
  return parseIPAddress(address) !== undefined
}
