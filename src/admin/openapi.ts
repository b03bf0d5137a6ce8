/** The OpenAPI document of the admin interface, which is made from its routes. https://spec.openapis.org/oas/v3.1.0 */
import { z } from 'zod'
import { jsonResponse } from './http.js'
import type { Operation, Routes } from './routes.js'

/** Adds /openapi.json, which describes these routes and itself. */
export function withOpenApi(routes: Routes, version: string): Routes {
  const all: Routes = {
    ...routes,
    '/openapi.json': {
      GET: {
        access: 'read',
        summary: 'This document.',
        response: z.looseObject({ openapi: z.string() }),
        run: () => jsonResponse(200, document),
      },
    },
  }
  const document = createDocument(all, version)
  return all
}

function createDocument(routes: Routes, version: string): object {
  return {
    openapi: '3.1.0',
    info: { title: 'The admin interface of mongo-iam-proxy', version },
    components: { securitySchemes: { token: { type: 'http', scheme: 'bearer' } } },
    paths: Object.fromEntries(
      Object.entries(routes).map(([path, route]) => [
        path,
        Object.fromEntries(
          Object.entries(route).map(([method, operation]) => [method.toLowerCase(), describe(operation)]),
        ),
      ]),
    ),
  }
}

const ERRORS: Readonly<Record<Operation['access'], Readonly<Record<string, string>>>> = {
  open: { 421: 'The Host header is not allowed.' },
  read: { 401: 'The token is missing or wrong.', 421: 'The Host header is not allowed.' },
  write: {
    400: 'The body is not valid.',
    401: 'The token is missing or wrong.',
    403: 'The token may only read.',
    404: 'There is no such object, or no token may write.',
    413: 'The body is too long.',
    415: 'The content type is not application/json.',
    421: 'The Host header is not allowed.',
  },
}

function describe({ access, summary, parameters, body, response }: Operation): object {
  return {
    summary,
    // An empty requirement: on loopback, reads need no token.
    security: access === 'open' ? [] : access === 'read' ? [{ token: [] }, {}] : [{ token: [] }],
    ...(parameters && {
      parameters: parameters.map(({ schema, ...rest }) => ({ ...rest, in: 'query', schema: toSchema(schema) })),
    }),
    ...(body && { requestBody: { required: true, content: { 'application/json': { schema: toSchema(body) } } } }),
    responses: {
      200: {
        description: 'Success.',
        content: response
          ? { 'application/json': { schema: toSchema(response) } }
          : { 'text/plain': { schema: { type: 'string' } } },
      },
      ...Object.fromEntries(Object.entries(ERRORS[access]).map(([status, description]) => [status, { description }])),
    },
  }
}

function toSchema(schema: z.ZodType): object {
  const { $schema: _, ...rest } = z.toJSONSchema(schema, { io: 'input' }) as Record<string, unknown>
  return rest
}
