/** The settings as people read them: a Markdown table for README, plain text for the terminal. */
import { allSettings } from './settings.js'

const rows = allSettings.map(({ path, flag, variable, definition }) => ({
  path,
  flag: definition.fileOnly ? undefined : flag,
  variable: definition.fileOnly ? undefined : variable,
  fallback: definition.fallback,
  about: definition.about,
  live: definition.live,
}))

/** `| setting | flag | variable | default | what it does | reloaded |` and a line for each setting; ends with a line end. */
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

/** For a terminal: the setting and its default, then what it does, then its other names; ends with a line end. */
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
