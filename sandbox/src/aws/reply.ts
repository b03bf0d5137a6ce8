/** Replies of STS, in XML or, if the caller accepts it, JSON; and the table of errors. */

/** Elements in order. As in AWS, a date is ISO 8601 in XML and seconds since 1970 in JSON. */
export type XmlTree = { readonly [name: string]: string | Date | XmlTree }

export type Refusal = { code: Code; message: string }
export type Result = { action: string; result: XmlTree }
export type Reply = { status: number; type: string; text: string }

const NAMESPACE = 'https://sts.amazonaws.com/doc/2011-06-15/'
/** The namespace of errors that occur before the action is known. */
const DISPATCH_NAMESPACE = 'http://webservices.amazon.com/AWSFault/2005-15-09'

type ErrorDefinition = { status: number; type?: 'Sender' | 'Receiver'; namespace?: string }
const errors = {
  SignatureDoesNotMatch: { status: 403 },
  InvalidClientTokenId: { status: 403 },
  ExpiredToken: { status: 403 },
  AccessDenied: { status: 403 },
  InvalidIdentityToken: { status: 400 },
  // For a web identity token. An expired session token is ExpiredToken.
  ExpiredTokenException: { status: 400 },
  // AWS documents 403. A careful reimplementation uses 400.
  MissingAuthenticationToken: { status: 403 },
  IncompleteSignature: { status: 400 },
  Throttling: { status: 400 },
  ValidationError: { status: 400 },
  MissingAction: { status: 400, namespace: DISPATCH_NAMESPACE },
  InvalidAction: { status: 400, namespace: DISPATCH_NAMESPACE },
  UnknownOperationException: { status: 404, namespace: DISPATCH_NAMESPACE },
  InternalFailure: { status: 500, type: 'Receiver' },
} as const satisfies Record<string, ErrorDefinition>
export type Code = keyof typeof errors

/** `json`: the caller accepts JSON. */
export function encodeReply(outcome: Result | Refusal, json: boolean, requestId: string): Reply {
  if ('result' in outcome) {
    const { action, result } = outcome
    const tree = { [`${action}Result`]: result, ResponseMetadata: { RequestId: requestId } }
    const text = json ? toJSON({ [`${action}Response`]: tree }) : toXML(`${action}Response`, NAMESPACE, tree)
    return { status: 200, type: typeOf(json), text }
  }
  const { status, type = 'Sender', namespace = NAMESPACE }: ErrorDefinition = errors[outcome.code]
  const tree = { Error: { Type: type, Code: outcome.code, Message: outcome.message }, RequestId: requestId }
  return { status, type: typeOf(json), text: json ? toJSON(tree) : toXML('ErrorResponse', namespace, tree) }
}

/** The outcome of an action in the form of `encodeReply`. */
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
