/**
 * Where a program finds its credentials in AWS: for each source the sandbox plays its endpoint, and this is the environment
 * that leads there. All give sessions of the role orders-api of a house.
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
  /** The session's name that results. */
  session: RegExp
  /** How often credentials were asked for. */
  requestCount(): number
}
type Build = (t: Test, home: TestProxy, seconds: number) => Promise<CredentialSource>

const SUBJECT = 'system:serviceaccount:shop:orders'
const STS_AUDIENCE = 'sts.amazonaws.com'
/** botocore reads the other name. */
const REGION = { AWS_REGION: 'eu-west-1', AWS_DEFAULT_REGION: 'eu-west-1' }

/** Sessions of these last so many seconds. */
export const credentialSources = {
  /** What a function of Lambda finds, beside its credentials, tells drivers where they are. */
  Lambda: async (_, home, seconds) => ({
    env: {
      ...credentialEnvironment(home.session(seconds)),
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

  ECS: async (t, home, seconds) => {
    const endpoints = await endpointsOf(t, home, seconds)
    const path = endpoints.addEcsTask(ordersRole(home), 'of the task')
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

  'EKS Pod Identity': async (t, home, seconds) => {
    const endpoints = await endpointsOf(t, home, seconds)
    const { issuer, token } = clusterOf(home, POD_AUDIENCE)
    const path = endpoints.addEksPod({ role: ordersRole(home), issuer, subject: SUBJECT })
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

  'EKS web identity': async (t, home, seconds) => {
    const role = ordersRole(home)
    const { provider, token } = clusterOf(home, STS_AUDIENCE)
    home.iam.trustWebIdentity(role, { provider, subject: SUBJECT, audience: STS_AUDIENCE })
    role.maxSessionSeconds = seconds
    return {
      env: {
        ...REGION,
        AWS_WEB_IDENTITY_TOKEN_FILE: fileOf(t, token),
        AWS_ROLE_ARN: role.arn,
        AWS_ROLE_SESSION_NAME: 'orders-7f9c',
        AWS_ENDPOINT_URL_STS: home.sts.url,
      },
      session: /^orders-7f9c$/,
      requestCount: () => home.sts.calls().AssumeRoleWithWebIdentity,
    }
  },

  EC2: async (t, home, seconds) => {
    const endpoints = await endpointsOf(t, home, seconds)
    endpoints.setInstanceRole(ordersRole(home))
    return {
      env: { ...REGION, AWS_EC2_METADATA_SERVICE_ENDPOINT: endpoints.url, AWS_EC2_METADATA_DISABLED: 'false' },
      session: /^i-0[0-9a-f]{16}$/,
      requestCount: () => endpoints.issuedKeys().length,
    }
  },
} as const satisfies Record<string, Build>

/** The role of a house that these are sessions of. */
export function ordersRole(home: TestProxy): Role {
  const role = home.iam.role(`arn:aws:iam::${ACCOUNT}:role/orders-api`)
  if (!role) throw new Error('the house has no role orders-api')
  return role
}

async function endpointsOf(t: Test, home: TestProxy, seconds: number): Promise<CredentialEndpoints> {
  const endpoints = await startCredentialEndpoints({ iam: home.iam, seconds })
  t.teardown(() => endpoints.close())
  return endpoints
}

/** A cluster that the account believes, and an hour's token of the service account. */
function clusterOf(home: TestProxy, audience: string): { issuer: string; provider: string; token: string } {
  const cluster = createOidcIssuer('https://oidc.eks.eu-west-1.amazonaws.com/id/1')
  const { arn } = home.iam.createProvider({ account: ACCOUNT, ...cluster, audiences: [audience] })
  const exp = Math.floor(Date.now() / 1000) + 3600
  return { issuer: cluster.issuer, provider: arn, token: cluster.token({ sub: SUBJECT, aud: [audience], exp }) }
}

function fileOf(t: Test, text: string): string {
  const file = join(createTempFolder(t), 'token')
  writeFileSync(file, text)
  return file
}
