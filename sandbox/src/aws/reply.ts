/** What STS answers: a tree as XML or, where the caller accepts it, JSON; and the table of its errors. */

/** Elements in their order. A date is ISO 8601 in XML and seconds since 1970 in JSON, as with AWS. */
export type XmlTree = { readonly [name: string]: string | Date | XmlTree }

/** An error by its code, with the sentence for the caller. */
export type Refusal = { code: Code; message: string }
export type Result = { action: string; result: XmlTree }
export type Reply = { status: number; type: string; text: string }

const NAMESPACE = 'https://sts.amazonaws.com/doc/2011-06-15/'
/** Of errors from before an action was found. */
const DISPATCH = 'http://webservices.amazon.com/AWSFault/2005-15-09'

type Row = { status: number; type?: 'Sender' | 'Receiver'; namespace?: string }
const errors = {
  SignatureDoesNotMatch: { status: 403 },
  InvalidClientTokenId: { status: 403 },
  ExpiredToken: { status: 403 },
  AccessDenied: { status: 403 },
  InvalidIdentityToken: { status: 400 },
  // Of a web identity's token; that of a session is ExpiredToken.
  ExpiredTokenException: { status: 400 },
  // AWS documents 403 for it; one careful re-implementation says 400.
  MissingAuthenticationToken: { status: 403 },
  IncompleteSignature: { status: 400 },
  Throttling: { status: 400 },
  ValidationError: { status: 400 },
  MissingAction: { status: 400, namespace: DISPATCH },
  InvalidAction: { status: 400, namespace: DISPATCH },
  UnknownOperationException: { status: 404, namespace: DISPATCH },
  InternalFailure: { status: 500, type: 'Receiver' },
} as const satisfies Record<string, Row>
export type Code = keyof typeof errors

/** The reply to a call; `json` where the caller accepts JSON. */
export function encodeReply(outcome: Result | Refusal, json: boolean, requestId: string): Reply {
  if ('result' in outcome) {
    const { action, result } = outcome
    const tree = { [`${action}Result`]: result, ResponseMetadata: { RequestId: requestId } }
    const text = json ? toJSON({ [`${action}Response`]: tree }) : toXML(`${action}Response`, NAMESPACE, tree)
    return { status: 200, type: typeOf(json), text }
  }
  const { status, type = 'Sender', namespace = NAMESPACE }: Row = errors[outcome.code]
  const tree = { Error: { Type: type, Code: outcome.code, Message: outcome.message }, RequestId: requestId }
  return { status, type: typeOf(json), text: json ? toJSON(tree) : toXML('ErrorResponse', namespace, tree) }
}

/** What an action gave, as `reply` takes it. */
export function toResult(action: string, outcome: XmlTree | Refusal): Result | Refusal {
  return isRefusal(outcome) ? outcome : { action, result: outcome }
}

function isRefusal(outcome: XmlTree | Refusal): outcome is Refusal {
  return 'code' in outcome
}

function typeOf(json: boolean): string {
  return json ? 'application/json' : 'text/xml'
}

function toJSON(tree: XmlTree): string {
  const plain = (value: XmlTree[string]): unknown => {
    if (typeof value === 'string') return value
    if (value instanceof Date) return Math.floor(value.getTime() / 1000)
    return Object.fromEntries(Object.entries(value).map(([name, child]) => [name, plain(child)]))
  }
  return JSON.stringify(plain(tree))
}

function toXML(root: string, namespace: string, tree: XmlTree): string {
  return `<${root} xmlns="${namespace}">\n${elements(tree, '  ')}</${root}>\n`
}

function elements(tree: XmlTree, indent: string): string {
  let text = ''
  for (const [name, value] of Object.entries(tree)) {
    if (typeof value === 'string') text += `${indent}<${name}>${escapeXML(value)}</${name}>\n`
    else if (value instanceof Date) text += `${indent}<${name}>${value.toISOString().slice(0, 19)}Z</${name}>\n`
    else text += `${indent}<${name}>\n${elements(value, `${indent}  `)}${indent}</${name}>\n`
  }
  return text
}

const entities: Record<string, string> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&apos;' }

function escapeXML(text: string): string {
  return text.replaceAll(/[&<>"']/g, character => entities[character] as string)
}
