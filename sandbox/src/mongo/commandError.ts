/** Errors of commands, named as in `src/mongo/base/error_codes.yml` of mongod. */
import { type Document, Double, Int32 } from 'bson'

const codes = {
  InternalError: 1,
  BadValue: 2,
  HostUnreachable: 6,
  HostNotFound: 7,
  FailedToParse: 9,
  UserNotFound: 11,
  Unauthorized: 13,
  TypeMismatch: 14,
  ProtocolError: 17,
  AuthenticationFailed: 18,
  IllegalOperation: 20,
  NamespaceNotFound: 26,
  IndexNotFound: 27,
  PathNotViable: 28,
  RoleNotFound: 31,
  ConflictingUpdateOperators: 40,
  CursorNotFound: 43,
  NamespaceExists: 48,
  InvalidRoleModification: 49,
  MaxTimeMSExpired: 50,
  InvalidIdField: 53,
  CommandNotFound: 59,
  ImmutableField: 66,
  InvalidOptions: 72,
  InvalidNamespace: 73,
  NoReplicationEnabled: 76,
  IndexOptionsConflict: 85,
  IndexKeySpecsConflict: 86,
  NetworkTimeout: 89,
  ShutdownInProgress: 91,
  ReadConcernMajorityNotAvailableYet: 134,
  CollectionIsEmpty: 162,
  CommandNotSupportedOnView: 166,
  InvalidPipelineOperator: 168,
  FailPointSetFailed: 171,
  ClientMetadataDocumentTooLarge: 185,
  ClientMetadataCannotBeMutated: 186,
  PrimarySteppedDown: 189,
  WriteConflict: 112,
  TransactionTooOld: 225,
  NoSuchTransaction: 251,
  TransactionCommitted: 256,
  ExceededTimeLimit: 262,
  OperationNotSupportedInTransaction: 263,
  MechanismUnavailable: 334,
  UnsupportedOpQueryCommand: 352,
  ReauthenticationRequired: 391,
  SocketException: 9001,
  Location5626701: 5626701,
  BSONObjectTooLarge: 10334,
  DuplicateKey: 11000,
  Location17280: 17280,
  SearchNotEnabled: 31082,
  Location31249: 31249,
  Location31254: 31254,
  Location40323: 40323,
  Location40324: 40324,
  Location40353: 40353,
  Location40414: 40414,
  Location40415: 40415,
  Location40573: 40573,
  Location51002: 51002,
  Location51003: 51003,
  Location51024: 51024,
  Location51091: 51091,
  Location51760: 51760,
  NotARetryableWriteCommand: 50768,
  Location50911: 50911,
  NotWritablePrimary: 10107,
  InterruptedAtShutdown: 11600,
  Interrupted: 11601,
  InterruptedDueToReplStateChange: 11602,
  NotPrimaryNoSecondaryOk: 13435,
  NotPrimaryOrSecondary: 13436,
} as const

export type CodeName = keyof typeof codes

export const toCode = (name: CodeName): number => codes[name]

const names: ReadonlyMap<number, string> = new Map(Object.entries(codes).map(([name, code]) => [code, name]))

/** The name of a code. mongod writes `Location` and the number for codes without a name. */
export const toCodeName = (code: number): string => names.get(code) ?? `Location${code}`

/** Ends a command with an error reply. `extra` is added to the reply, for example `keyPattern` of a duplicate key. */
export class CommandError extends Error {
  override readonly name = 'CommandError'
  readonly codeName: CodeName
  readonly extra: Document

  constructor(codeName: CodeName, message: string, extra: Document = {}) {
    super(message)
    this.codeName = codeName
    this.extra = extra
  }

  get code(): number {
    return codes[this.codeName]
  }

  /**
   * Converts anything thrown. Most commands do not check the types of their fields, so a TypeError usually means that the
   * client sent a wrong type.
   */
  static from(thrown: unknown): CommandError {
    if (thrown instanceof CommandError) return thrown
    const error = thrown instanceof Error ? thrown : new Error(String(thrown))
    // Errors of mingo have no name of their own, so use the name of the class.
    return new CommandError(foreign.get(error.constructor.name) ?? 'InternalError', error.message)
  }
}

/** Errors that JavaScript, bson and mingo throw. */
const foreign = new Map<string, CodeName>([
  ['TypeError', 'TypeMismatch'],
  ['RangeError', 'BadValue'],
  ['BSONError', 'BadValue'],
  ['BSONVersionError', 'BadValue'],
  ['MingoError', 'BadValue'],
])

/** The error reply. */
export function toReply(error: CommandError): Document {
  return {
    ok: new Double(0),
    errmsg: error.message,
    code: new Int32(error.code),
    codeName: error.codeName,
    ...error.extra,
  }
}
