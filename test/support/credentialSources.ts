/**
 * The sources of credentials in AWS. The sandbox plays the endpoint of each, and `env` is the environment
 * that leads there. All give sessions of the role orders-api.
 */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Test } from 'tap'
import {
  type CredentialEndpoints,
  POD_AUDIENCE,
  startCredentialEndpoints,
} from '../../sandbox/src/aws/credentialEndpoints.js'
import type { Role } from '../../sandbox/src/aws/iam.js'
import { credentialEnvironment } from './clients.js'
import { createOidcIssuer } from './oidcIssuer.js'
import { createTempFolder } from './program.js'
import { ACCOUNT, type TestProxy } from './testProxy.js'

export type CredentialSource = {
  env: Record<string, string>
  /** The name of the resulting session. */
  session: RegExp
  /** How often credentials were requested. */
  requestCount(): number
}
type Build = (t: Test, proxy: TestProxy, seconds: number) => Promise<CredentialSource>

const SUBJECT = 'system:serviceaccount:shop:orders'
const STS_AUDIENCE = 'sts.amazonaws.com'
/** botocore reads the second one. */
const REGION = { AWS_REGION: 'eu-west-1', AWS_DEFAULT_REGION: 'eu-west-1' }

/** Each builds a source whose sessions last `seconds`. */
export const credentialSources = {
  /** Besides credentials, a Lambda function has variables by which drivers recognize Lambda. */
  Lambda: async (_, proxy, seconds) => ({
    env: {
      ...credentialEnvironment(proxy.session(seconds)),
      ...REGION,
      AWS_EXECUTION_ENV: 'AWS_Lambda_nodejs22.x',
      AWS_LAMBDA_FUNCTION_NAME: 'orders',
      AWS_LAMBDA_FUNCTION_MEMORY_SIZE: '512',
      AWS_LAMBDA_RUNTIME_API: '127.0.0.1:9001',
      LAMBDA_TASK_ROOT: '/var/task',
    },
    session: /^pod-7$/,
    requestCount: () => 0,
  }),

  ECS: async (t, proxy, seconds) => {
    const endpoints = await endpointsOf(t, proxy, seconds)
    const path = endpoints.addEcsTask(ordersRole(proxy), 'of the task')
    return {
      env: {
        ...REGION,
        AWS_CONTAINER_CREDENTIALS_FULL_URI: endpoints.url + path,
        AWS_CONTAINER_AUTHORIZATION_TOKEN: 'of the task',
      },
      session: /^[0-9a-f]{32}$/,
      requestCount: () => endpoints.issuedKeys().length,
    }
  },

  'EKS Pod Identity': async (t, proxy, seconds) => {
    const endpoints = await endpointsOf(t, proxy, seconds)
    const { issuer, token } = clusterOf(proxy, POD_AUDIENCE)
    const path = endpoints.addEksPod({ role: ordersRole(proxy), issuer, subject: SUBJECT })
    return {
      env: {
        ...REGION,
        AWS_CONTAINER_CREDENTIALS_FULL_URI: endpoints.url + path,
        AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE: fileOf(t, token),
      },
      session: /^eks-shop-orders$/,
      requestCount: () => endpoints.issuedKeys().length,
    }
  },

  'EKS web identity': async (t, proxy, seconds) => {
    const role = ordersRole(proxy)
    const { provider, token } = clusterOf(proxy, STS_AUDIENCE)
    proxy.iam.trustWebIdentity(role, { provider, subject: SUBJECT, audience: STS_AUDIENCE })
    role.maxSessionSeconds = seconds
    return {
      env: {
        ...REGION,
        AWS_WEB_IDENTITY_TOKEN_FILE: fileOf(t, token),
        AWS_ROLE_ARN: role.arn,
        AWS_ROLE_SESSION_NAME: 'orders-7f9c',
        AWS_ENDPOINT_URL_STS: proxy.sts.url,
      },
      session: /^orders-7f9c$/,
      requestCount: () => proxy.sts.calls().AssumeRoleWithWebIdentity,
    }
  },

  EC2: async (t, proxy, seconds) => {
    const endpoints = await endpointsOf(t, proxy, seconds)
    endpoints.setInstanceRole(ordersRole(proxy))
    return {
      env: { ...REGION, AWS_EC2_METADATA_SERVICE_ENDPOINT: endpoints.url, AWS_EC2_METADATA_DISABLED: 'false' },
      session: /^i-0[0-9a-f]{16}$/,
      requestCount: () => endpoints.issuedKeys().length,
    }
  },
} as const satisfies Record<string, Build>

/** The role orders-api of a test proxy. */
export function ordersRole(proxy: TestProxy): Role {
  const role = proxy.iam.role(`arn:aws:iam::${ACCOUNT}:role/orders-api`)
  if (!role) throw new Error('there is no role orders-api')
  return role
}

async function endpointsOf(t: Test, proxy: TestProxy, seconds: number): Promise<CredentialEndpoints> {
  const endpoints = await startCredentialEndpoints({ iam: proxy.iam, seconds })
  t.teardown(() => endpoints.close())
  return endpoints
}

/** A cluster that the account trusts, and a token of its service account for one hour. */
function clusterOf(proxy: TestProxy, audience: string): { issuer: string; provider: string; token: string } {
  const cluster = createOidcIssuer('https://oidc.eks.eu-west-1.amazonaws.com/id/1')
  const { arn } = proxy.iam.createProvider({ account: ACCOUNT, ...cluster, audiences: [audience] })
  const exp = Math.floor(Date.now() / 1000) + 3600
  return { issuer: cluster.issuer, provider: arn, token: cluster.token({ sub: SUBJECT, aud: [audience], exp }) }
}

function fileOf(t: Test, text: string): string {
  const file = join(createTempFolder(t), 'token')
  writeFileSync(file, text)
  return file
}
