/** Liveness, readiness and metrics, which need no token. */
import { z } from 'zod'
import { jsonResponse, textResponse } from './http.js'
import type { Routes } from './routes.js'

export type HealthOptions = {
  /** `body` is shown by /readyz. */
  ready(): { ready: boolean; body: Record<string, unknown> }
  /** Returns the metrics in the Prometheus text format. */
  metrics(): Promise<string>
}

export function createHealthRoutes({ ready, metrics }: HealthOptions): Routes {
  const render = shareConcurrent(metrics)
  return {
    '/healthz': { GET: { access: 'open', summary: 'Liveness.', run: () => textResponse(200, 'ok') } },
    '/readyz': {
      GET: {
        access: 'open',
        summary: 'Readiness: 200 if logins can be admitted, otherwise 503 with the same body.',
        response: z.looseObject({ ready: z.boolean() }),
        run() {
          const { ready: isReady, body } = ready()
          return jsonResponse(isReady ? 200 : 503, { ready: isReady, ...body })
        },
      },
    },
    '/metrics': {
      GET: {
        access: 'open',
        summary: 'Metrics in the Prometheus text format.',
        run: async () => ({ status: 200, type: 'text/plain; version=0.0.4; charset=utf-8', body: await render() }),
      },
    },
  }
}

/** Calls that arrive while a result is pending get the same result. */
function shareConcurrent<T>(run: () => Promise<T>): () => Promise<T> {
  let pending: Promise<T> | undefined
  return () => {
    pending ??= run().finally(() => {
      pending = undefined
    })
    return pending
  }
}
