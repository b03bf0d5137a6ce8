/**
 * Reads the files that the browser needs besides the page: those of `web`, and uPlot from its package.
 *
 * Their addresses contain a hash of all of them. So a browser may cache them forever, also the modules that `status.js` imports
 * by relative names, and a page never gets files of another version.
 */
import { createHash } from 'node:crypto'
import { readdirSync, readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import type { Assets as AssetAddresses } from './document.js'

export type Asset = { address: string; type: string; bytes: Buffer }
export type Assets = { files: readonly Asset[]; addresses: AssetAddresses }

const WEB = new URL('../../web/', import.meta.url)
const PACKAGED = { 'uPlot.js': 'uplot/dist/uPlot.iife.min.js', 'uPlot.css': 'uplot/dist/uPlot.min.css' }
const TYPES: Readonly<Record<string, string>> = {
  js: 'text/javascript; charset=utf-8',
  css: 'text/css; charset=utf-8',
}
const HASH_LENGTH = 16

/** Throws if a file is missing. The files belong to the program like its modules. */
export function readAssets(): Assets {
  const require = createRequire(import.meta.url)
  const files = [
    ...readdirSync(WEB)
      .filter(name => /\.(js|css)$/.test(name))
      .sort()
      .map(name => ({ name, bytes: readFileSync(new URL(name, WEB)) })),
    ...Object.entries(PACKAGED).map(([name, path]) => ({ name, bytes: readFileSync(require.resolve(path)) })),
  ]
  const hash = createHash('sha256')
  for (const { name, bytes } of files) hash.update(`${name} ${bytes.length}\n`).update(bytes)
  const folder = `/assets/${hash.digest('hex').slice(0, HASH_LENGTH)}`
  const assets = files.map(({ name, bytes }) => ({
    name,
    address: `${folder}/${name}`,
    type: TYPES[name.slice(name.lastIndexOf('.') + 1)] ?? '',
    bytes,
  }))
  return { files: assets, addresses: Object.fromEntries(assets.map(({ name, address }) => [name, address])) }
}
