/** Renders the settings: as a Markdown table for the reference page, and as text for the terminal. */
import { allSettings } from './settings.js'

const rows = allSettings.map(({ path, flag, variable, definition: { fileOnly, fallback, about, live, secret } }) => ({
  path,
  flag: fileOnly ? undefined : flag,
  variable: fileOnly ? undefined : variable,
  fallback,
  about,
  live,
  secret,
}))

/** A header line and one line per setting; ends with a newline. */
export function settingsTable(): string {
  const code = (text: string | undefined) => (text === undefined ? '' : `\`${text}\``)
  const lines = rows.map(({ path, flag, variable, fallback, about, live }) =>
    [code(path), code(flag), code(variable), code(fallback), about, live ? 'yes' : 'restart'].join(' | '),
  )
  return [
    'setting | flag | variable | default | what it does | reloaded',
    '--- | --- | --- | --- | --- | ---',
    ...lines,
  ]
    .map(line => `| ${line} |\n`)
    .join('')
}

/** Two lines per setting: its path, description and default, then its flag and variable. Ends with a newline. */
export function settingsText(): string {
  const width = Math.max(...rows.map(({ path }) => path.length))
  return rows
    .map(({ path, flag, variable, fallback, about }) => {
      const names = flag === undefined ? 'in the file only' : `${flag}  ${variable}`
      const indent = ' '.repeat(width)
      return `${path.padEnd(width)}  ${about}${fallback === undefined ? '' : ` [${fallback}]`}\n${indent}  ${names}\n`
    })
    .join('')
}

/** Of the JSON below. Later releases may add fields to a version. */
const JSON_VERSION = 1

/** The settings in one JSON document. A setting that can only be in the file has neither flag nor variable. */
export function settingsJson(): string {
  const settings = rows.map(({ path, flag, variable, fallback, about, live, secret }) => ({
    path,
    flag: flag ?? null,
    variable: variable ?? null,
    default: fallback ?? null,
    description: about,
    reloaded: live === true,
    secret: secret === true,
  }))
  return JSON.stringify({ version: JSON_VERSION, settings })
}
