// An error becomes lines for a person and an exit code.
import { BangerError, errorCodes, exitCodeFor, isBangerError, isExpected } from '../core/errors.ts';
import type { Io } from './io.ts';
import { paint } from './render/color.ts';

/** Exit code of `vm run` and `vm exec` when banger failed before the command ran, as container tools have it. */
export const ownFailureExitCode = 125;

/** What a command would have ended with that the guest refused to start; `undefined` for every other error. */
export function refusedExitCode(error: unknown): number | undefined {
  const code = isBangerError(error) ? error.detail?.['exitCode'] : undefined;
  return typeof code === 'number' ? code : undefined;
}

/** Op id of an error that came over the wire. */
function opIdOf(error: BangerError): string | undefined {
  const direct = (error as { readonly opId?: unknown }).opId;
  if (typeof direct === 'string') return direct;
  const inDetail = error.detail?.['opId'];
  return typeof inDetail === 'string' ? inDetail : undefined;
}

/** `banger: <sentence>`, `  hint: ...`, `(op-...)` dimmed. Ends with a newline. */
export function renderError(error: unknown, io: Io): string {
  if (!isBangerError(error)) {
    const text = error instanceof Error ? error.message : String(error);
    return `banger: internal error: ${text}\n  hint: BANGER_TRACE=1 shows where it happened\n${io.env['BANGER_TRACE'] && error instanceof Error ? `${error.stack}\n` : ''}`;
  }
  const opId = opIdOf(error);
  const internal = isExpected(error.code) || error.message === 'internal error' ? '' : 'internal error: ';
  const lines = [`banger: ${internal}${error.message}`];
  const hint = error.hint ?? (isExpected(error.code) ? undefined : 'banger daemon logs has the details');
  if (hint !== undefined) lines.push(`  hint: ${hint}`);
  if (opId !== undefined) lines.push(paint(`(${opId})`, 'dim', { io, fd: 2 }));
  return `${lines.join('\n')}\n`;
}

/** The same error with one more thing that the person can do. */
export function withHint(error: unknown, hint: string): BangerError {
  const { code, message, hint: own, detail } = isBangerError(error) ? error : new BangerError('internal', error instanceof Error ? error.message : String(error));
  return new BangerError(code, message, { hint: own === undefined ? hint : `${own}; ${hint}`, detail, cause: error });
}

/** Exit code of an error; verbs that run a guest command answer 125 for failures that are not the caller's. */
export function exitCodeOf(error: unknown, runsGuestCommand = false): number {
  const code = isBangerError(error) ? error.code : 'internal';
  const exitCode = exitCodeFor(code);
  return runsGuestCommand && exitCode !== errorCodes.bad_request.exitCode ? ownFailureExitCode : exitCode;
}
