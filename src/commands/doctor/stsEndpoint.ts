/** Which STS `doctor` calls from this machine: the host that the proxy offers, or the endpoint in the environment. */
import { findPartition, findRegionalHost } from '../../identity/partition.js'
import { type Environment, regionOf } from './credentialDiagnosis.js'

/** Structurally a host of the client of STS. */
export type StsEndpoint = { host: string; connect?: { host: string; port: number }; insecure?: boolean }

const DEFAULT_HOST = 'sts.us-east-1.amazonaws.com'
const LOOPBACK = /^(?:localhost|127(?:\.\d+){3}|\[::1\])$/

/**
 * `offered`: the host in the challenge of the proxy, if there was one. A session token is sent there, so a host that does not
 * belong to AWS is ignored: a false proxy must not choose who receives it.
 */
export function chooseStsEndpoint(offered: string | undefined, env: Environment): StsEndpoint {
  const own = regionOf(env)
  const fallback = (own === undefined ? undefined : findRegionalHost(own)) ?? DEFAULT_HOST
  const host = offered !== undefined && findPartition(offered) !== undefined ? offered : fallback
  const url = parseUrl(env.AWS_ENDPOINT_URL_STS || env.AWS_ENDPOINT_URL)
  if (!url) return { host }
  const insecure = url.protocol === 'http:'
  const port = url.port === '' ? (insecure ? 80 : 443) : Number(url.port)
  const connect = { host: url.hostname.replace(/^\[(.*)\]$/, '$1'), port }
  // The certificate of a VPC endpoint covers the name of the public host. Any other server has a name of its own.
  const isOfAws = LOOPBACK.test(url.hostname) || url.hostname.endsWith('.amazonaws.com')
  return { host: isOfAws ? host : url.hostname, connect, ...(insecure && { insecure }) }
}

function parseUrl(text: string | undefined): URL | undefined {
  if (!text || !URL.canParse(text)) return undefined
  const url = new URL(text)
  return url.protocol === 'http:' || url.protocol === 'https:' ? url : undefined
}
