/**
 * Runs aggregation pipelines. Stages that only filter, sort or project keep BSON types exactly; mingo runs the others.
 */
import { type Document, Int32 } from 'bson'
import { CommandError } from './commandError.js'
import { compileStages } from './expression.js'
import { compileMatcher, isOperatorExpression } from './match.js'
import { isNumber, toNumber } from './order.js'
import { compileProjection } from './projection.js'
import { sortBy } from './query.js'

export type PipelineScope = {
  /** All documents of a collection of this database. */
  collection: (name: string) => Document[]
  variables?: Document | undefined
}

type Stage = (documents: Document[], spec: never, scope: PipelineScope) => Document[]

const own: Record<string, Stage> = {
  $match: (documents, spec: Document, { variables }) => documents.filter(compileMatcher(spec, variables)),
  $sort: (documents, spec: Document) => sortBy(documents, spec, document => document),
  $limit: (documents, spec) => documents.slice(0, toNumber(spec)),
  $skip: (documents, spec) => documents.slice(toNumber(spec)),
  $count: (documents, spec: string) => (documents.length > 0 ? [{ [spec]: new Int32(documents.length) }] : []),
  $documents: (_, spec: Document[]) => spec,
  $facet: (documents, spec: Record<string, Document[]>, scope) => [
    Object.fromEntries(Object.entries(spec).map(([name, one]) => [name, runPipeline(documents, one, scope)])),
  ],
  $unionWith: (documents, spec: string | { coll: string; pipeline?: Document[] }, scope) => {
    const { coll, pipeline = [] } = typeof spec === 'string' ? { coll: spec } : spec
    return [...documents, ...runPipeline(scope.collection(coll), pipeline, scope)]
  },
}

/** The stages that mingo runs. It would reject the others with messages of its own. */
const mingos = new Set([
  ...['$addFields', '$bucket', '$bucketAuto', '$densify', '$fill', '$graphLookup', '$group', '$lookup', '$project'],
  ...['$redact', '$replaceRoot', '$replaceWith', '$sample', '$set', '$setWindowFields', '$sortByCount', '$unset'],
  '$unwind',
])

/** Stages of mongod that the sandbox does not have. */
const refusals: Record<string, () => CommandError> = {
  $changeStream: () => new CommandError('Location40573', 'The $changeStream stage is only supported on replica sets'),
  $out: () =>
    new CommandError('IllegalOperation', '$out is not part of this sandbox: insert what the pipeline returns'),
  $merge: () =>
    new CommandError('IllegalOperation', '$merge is not part of this sandbox: update with what the pipeline returns'),
}

/** Throws for a stage that is unknown or not part of the sandbox. */
export function runPipeline(documents: Document[], pipeline: readonly Document[], scope: PipelineScope): Document[] {
  const { variables } = scope
  let result = documents
  for (let at = 0; at < pipeline.length; ) {
    const [name, spec] = parseStage(pipeline[at])
    const stage = ownStage(name, spec)
    if (stage) {
      result = stage(result, spec as never, scope)
      at++
      continue
    }
    let end = at
    while (end < pipeline.length && isMingos(pipeline[end])) end++
    if (end === at) throw refusal(name)
    result = compileStages(pipeline.slice(at, end), { collections: scope.collection, ...(variables && { variables }) })(
      result,
    )
    at = end
  }
  return result
}

/** The only field of a stage. */
export function parseStage(stage: Document | undefined): [name: string, spec: unknown] {
  const [field, ...others] = Object.entries(stage ?? {})
  if (!field || others.length > 0) {
    const message = 'A pipeline stage specification object must contain exactly one field.'
    throw new CommandError('Location40323', message)
  }
  return field
}

function isMingos(stage: Document | undefined): boolean {
  const [name, spec] = parseStage(stage)
  return mingos.has(name) && !ownStage(name, spec)
}

function ownStage(name: string, spec: unknown): Stage | undefined {
  if (name === '$project' && isPlain(spec as Document)) {
    return documents => documents.map(compileProjection(spec as Document))
  }
  return Object.hasOwn(own, name) ? own[name] : undefined
}

/** Whether a projection only includes or excludes fields. */
function isPlain(spec: Document): boolean {
  return Object.values(spec).every(how =>
    typeof how === 'object' && how !== null && !isNumber(how)
      ? !Array.isArray(how) && !isOperatorExpression(how) && isPlain(how)
      : isNumber(how) || typeof how === 'boolean',
  )
}

function refusal(name: string): CommandError {
  const known = Object.hasOwn(refusals, name) ? refusals[name] : undefined
  return known?.() ?? new CommandError('Location40324', `Unrecognized pipeline stage name: '${name}'`)
}
