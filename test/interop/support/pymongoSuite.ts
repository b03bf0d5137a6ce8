/** Runs files of PyMongo's own test suite against a server, and reads the result of each test. */
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Test } from 'tap'
import type { AwsKeys } from '../../support/clients.js'
import { createTempFolder } from '../../support/program.js'
import { startProgram } from './childProcess.js'
import type { PymongoSuite } from './toolchains.js'

/** The login of the suite. `iam`: log in with this access key through the proxy, in place of the password. */
export type SuiteTarget = { port: number; user: string; password: string; iam?: AwsKeys }

/** `outcome` is `passed`, `skipped`, or `failed` with the type of the error. `text` is the start of the message. */
export type SuiteResult = { outcome: string; text: string }
/** Results by the name of the test, such as `test_bulk.py::TestBulk::test_insert`. */
export type SuiteResults = Map<string, SuiteResult>

const folderOfPlugins = fileURLToPath(new URL('../pymongo', import.meta.url))
/** A file that takes longer is ended. Its remaining tests then have no result. */
const FILE_TIMEOUT_MS = 600_000

/** Runs the tests of one file, or those that `only` names. */
export async function runSuiteFile(
  t: Test,
  { python, folder }: PymongoSuite,
  { port, user, password, iam }: SuiteTarget,
  file: string,
  only: readonly string[] = [file],
): Promise<SuiteResults> {
  const resultsFile = join(createTempFolder(t), 'results.jsonl')
  const plugins = ['report_results', ...(iam ? ['iam_login'] : [])].flatMap(name => ['-p', name])
  const settings = ['-c', join(folder, 'pyproject.toml'), '--rootdir', folder, '-m', 'default']
  const changed = ['addopts=', 'log_cli_level=CRITICAL'].flatMap(option => ['-o', option])
  const selected = only.map(name => join(folder, 'test', name))
  const args = ['-m', 'pytest', '-q', '-p', 'no:cacheprovider', ...plugins, ...settings, ...changed, ...selected]
  const { child, exited, stderr } = startProgram(t, [python], args, {
    DB_IP: '127.0.0.1',
    DB_PORT: String(port),
    DB_USER: user,
    DB_PASSWORD: password,
    RESULTS_FILE: resultsFile,
    PYTHONPATH: `${folder}:${folderOfPlugins}`,
    PYTHONDONTWRITEBYTECODE: '1',
    ...(iam && { IAM_ACCESS_KEY_ID: iam.accessKeyId, IAM_SECRET_ACCESS_KEY: iam.secretAccessKey }),
  })
  child.stdout.resume()
  const timer = setTimeout(() => child.kill('SIGKILL'), FILE_TIMEOUT_MS)
  const code = await exited
  clearTimeout(timer)
  if (!existsSync(resultsFile)) throw new Error(`pytest of ${file} exited with ${code}: ${stderr()}`)
  return readResults(readFileSync(resultsFile, 'utf8'))
}

type Line = { test: string; outcome: string; error: string | null; text: string | null }

/** A test has several lines if its setup or its teardown fails, too, or if it has subtests: the first failure counts. */
function readResults(lines: string): SuiteResults {
  const results: SuiteResults = new Map()
  for (const line of lines.split('\n').filter(Boolean)) {
    const { test, outcome, error, text } = JSON.parse(line) as Line
    const name = test.replace(/^test\//, '')
    if (results.get(name)?.outcome.startsWith('failed')) continue
    results.set(name, { outcome: error ? `failed: ${error}` : outcome, text: text ?? '' })
  }
  return results
}
