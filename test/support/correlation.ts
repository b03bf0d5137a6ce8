/** Finds the logins of connections of MongoDB. */
import { type Document, MongoClient } from 'mongodb'
import type { AuditLine } from './audit.js'

/** The connections of a server, as currentOp shows them. `uri`: of a user who may see all. */
export async function listOperations(uri: string): Promise<Document[]> {
  const client = new MongoClient(uri)
  try {
    return (await client.db('admin').command({ currentOp: 1, $all: true })).inprog
  } finally {
    await client.close()
  }
}

/** The logins of a connection of MongoDB, found by the marker in its metadata, as docs/audit.md says. */
export function findLogins({ clientMetadata }: Document, events: AuditLine[]): AuditLine[] {
  const [, id] = /^mongo-iam-proxy\/\S+ (\S+)/.exec(clientMetadata?.platform) ?? []
  return events.filter(({ type, connection }) => type === 'login' && connection === id)
}

/** What the field `upstream` of a login has to be for this connection. `address`: of the server. */
export function toEndpoint({ client, connectionId }: Document, address: string) {
  return { address, localPort: Number(client.split(':').at(-1)), connectionId: Number(connectionId) }
}
