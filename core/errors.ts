// PUBLIC: the one error class that crosses rooms, its code table and a maker per problem.

interface CodeInfo {
  /** Expected errors print message and hint; unexpected ones print "internal error" and the op id. */
  readonly expected: boolean;
  /** Exit code of the CLI; `run` and `exec` use 125 before the command ran. */
  readonly exitCode: number;
  readonly doc: string;
}

/** Sorted; `docs/errors.md` has one row per code and a test compares them. */
export const errorCodes = {
  already_exists: { expected: true, exitCode: 1, doc: 'The name is taken' },
  ambiguous_ref: { expected: true, exitCode: 1, doc: 'The reference fits more than one object' },
  bad_request: { expected: true, exitCode: 2, doc: 'The request is malformed or a value is out of range' },
  bad_version: { expected: true, exitCode: 1, doc: 'Client and daemon speak different protocol versions' },
  busy: { expected: true, exitCode: 1, doc: 'The object is in use by another operation' },
  cancelled: { expected: true, exitCode: 1, doc: 'The operation was cancelled' },
  config_invalid: { expected: true, exitCode: 2, doc: 'The configuration file has errors' },
  daemon_unreachable: { expected: true, exitCode: 1, doc: 'The daemon did not start or does not answer' },
  incompatible: { expected: true, exitCode: 1, doc: 'Made by a newer version of banger' },
  internal: { expected: false, exitCode: 1, doc: 'A fault in banger itself' },
  missing_requirement: { expected: true, exitCode: 1, doc: 'The host lacks something this needs' },
  not_found: { expected: true, exitCode: 1, doc: 'Nothing matches the reference' },
  not_running: { expected: true, exitCode: 1, doc: 'The VM is not running' },
  operation_failed: { expected: true, exitCode: 1, doc: 'The operation failed for the stated reason' },
  plugin_failed: { expected: true, exitCode: 1, doc: 'A plugin failed to start or to answer' },
  start_failed: { expected: true, exitCode: 1, doc: 'A start step failed and everything begun was undone' },
  timeout: { expected: true, exitCode: 1, doc: 'A deadline passed; the message says what was waited for' },
  unauthorized: { expected: true, exitCode: 1, doc: 'The caller may not do this' },
  undo_failed: { expected: true, exitCode: 1, doc: 'Undoing left something behind; doctor names it' },
  unknown_method: { expected: true, exitCode: 1, doc: 'The daemon has no such method' },
  unsupported: { expected: true, exitCode: 1, doc: 'This host, image or driver cannot do this' },
  wrong_state: { expected: true, exitCode: 1, doc: 'The object is in a state that does not allow this' },
} as const satisfies Record<string, CodeInfo>;

export type CoreErrorCode = keyof typeof errorCodes;
/** A core code, or `<plugin>.<reason>`. */
export type ErrorCode = CoreErrorCode | `${string}.${string}`;

export interface Issue { readonly path: string; readonly message: string }

export interface ErrorOptions {
  readonly hint?: string | undefined;
  readonly detail?: Readonly<Record<string, unknown>> | undefined;
  readonly cause?: unknown;
}

/**
 * The only error class that crosses rooms.
 *
 * The message is one sentence without a full stop; `hint` says what the person can do; `cause` keeps the error below.
 */
export class BangerError extends Error {
  readonly code: ErrorCode;
  readonly hint?: string;
  readonly detail?: Readonly<Record<string, unknown>>;
  constructor(code: ErrorCode, message: string, options: ErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = 'BangerError';
    this.code = code;
    if (options.hint !== undefined) this.hint = options.hint;
    if (options.detail !== undefined) this.detail = options.detail;
  }
}

/** Tells a BangerError from anything else; safe for errors made by another copy of this module (third-party plugins). */
export function isBangerError(value: unknown): value is BangerError {
  return value instanceof Error && value.name === 'BangerError' && typeof (value as { code?: unknown }).code === 'string';
}

/** Whether a message may be shown to the person as it is; plugin codes are always expected. */
export function isExpected(code: ErrorCode): boolean {
  return Object.hasOwn(errorCodes, code) ? errorCodes[code as CoreErrorCode].expected : code.includes('.');
}

/** Exit code of the CLI for a code. */
export function exitCodeFor(code: string): number {
  return Object.hasOwn(errorCodes, code) ? errorCodes[code as CoreErrorCode].exitCode : 1;
}

export const alreadyExists = (what: string, name: string): BangerError =>
  new BangerError('already_exists', `${what} ${name} already exists`, { hint: `choose another name, or delete the ${what.toLowerCase()}` });
export const ambiguousRef = (what: string, ref: string, matches: readonly string[]): BangerError =>
  new BangerError('ambiguous_ref', `${what} reference ${ref} fits ${matches.length}: ${matches.slice(0, 5).join(', ')}`, { hint: 'type more of the id or name' });
export const badRequest = (issues: readonly Issue[], subject = 'request'): BangerError =>
  new BangerError('bad_request', `Invalid ${subject}: ${issues.map((i) => (i.path ? `${i.path}: ${i.message}` : i.message)).join('; ')}`, { detail: { issues } });
export const busy = (what: string, holder: string): BangerError =>
  new BangerError('busy', `${what} is busy: ${holder}`);
export const cancelled = (what: string): BangerError => new BangerError('cancelled', `${what} was cancelled`);
export const configInvalid = (file: string, issues: readonly Issue[]): BangerError =>
  new BangerError('config_invalid', `Configuration ${file} has ${issues.length === 1 ? 'a problem' : `${issues.length} problems`}: ${issues.map((i) => `${i.path}: ${i.message}`).join('; ')}`, { detail: { issues } });
export const incompatible = (message: string, hint: string): BangerError => new BangerError('incompatible', message, { hint });
export const missingRequirement = (what: string, hint: string): BangerError =>
  new BangerError('missing_requirement', what, { hint });
export const notFound = (what: string, ref: string): BangerError =>
  new BangerError('not_found', `No ${what} matches ${ref}`, { hint: `banger ${what === 'VM' ? 'vm' : what} list shows what there is` });
export const notRunning = (name: string, state: string): BangerError =>
  new BangerError('not_running', `VM ${name} is not running (${state})`, { hint: `banger vm start ${name}` });
export const operationFailed = (message: string, options: ErrorOptions = {}): BangerError =>
  new BangerError('operation_failed', message, options);
export const pluginFailed = (plugin: string, reason: string, cause?: unknown): BangerError =>
  new BangerError('plugin_failed', `Plugin ${plugin} failed: ${reason}`, { hint: 'banger doctor shows the state of every plugin', cause });
/** `waitingFor` reads like "guest agent of devbox"; `step` names the step or RPC method. */
export const timedOut = (waitingFor: string, limitMs: number, step?: string): BangerError =>
  new BangerError('timeout', `Gave up waiting for ${waitingFor} after ${Math.round(limitMs / 100) / 10} s${step ? ` (${step})` : ''}`);
export const unknownMethod = (method: string): BangerError => new BangerError('unknown_method', `Unknown method ${method}`);
export const unsupported = (message: string, hint?: string): BangerError => new BangerError('unsupported', message, { hint });
/** For what needs a guest that runs. */
export const vmPaused = (name: string): BangerError =>
  new BangerError('wrong_state', `VM ${name} is paused`, { hint: `banger vm resume ${name}` });
export const wrongState = (name: string, state: string, wanted: string): BangerError =>
  new BangerError('wrong_state', `VM ${name} is ${state}, not ${wanted}`);
