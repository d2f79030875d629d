// Calling a method that takes its time: stages shown; Ctrl-C cancels the operation, and once more leaves at once.
import type { ProgressNotice } from '../core/api.ts';
import { BangerError } from '../core/errors.ts';
import { interruptExitCode, Interrupts, type InterruptSignal } from './interrupts.ts';
import type { Io } from './io.ts';
import { createProgress } from './render/progress.ts';

/** The person stopped the command; its exit code is that of the signal. */
export class Interrupted extends BangerError {
  readonly exitCode: number;
  constructor(signal: InterruptSignal) {
    super('cancelled', 'Interrupted');
    this.exitCode = interruptExitCode(signal);
  }
}

export interface OperationCall { readonly io: Io; readonly interrupts: Pick<Interrupts, 'handle'>; readonly quiet: boolean }
/** What a shown call is given for its own. */
export interface CallWatch { readonly signal: AbortSignal; readonly onProgress: (notice: ProgressNotice) => void }

/** Makes a call of the daemon with its stages shown; the live line is gone when it ends. @throws Interrupted; what the call throws */
export async function showOperation<T>(call: OperationCall, make: (watch: CallWatch) => Promise<T>): Promise<T> {
  const { io, quiet } = call;
  const progress = createProgress(io, { quiet, ...(io.isTty(2) ? { width: process.stderr.columns || 80 } : {}) });
  const abort = new AbortController();
  let interrupted: InterruptSignal | undefined;
  call.interrupts.handle((signal) => {
    if (interrupted !== undefined || signal === 'HUP') process.exit(interruptExitCode(signal));
    interrupted = signal;
    progress.end();
    abort.abort();
  });
  try {
    return await make({ signal: abort.signal, onProgress: (notice) => progress.show(notice) });
  } catch (error) {
    throw interrupted === undefined ? error : new Interrupted(interrupted);
  } finally {
    progress.end();
  }
}

/** Runs work that is told of the person's signals; an interrupted one ends with the signal's exit code. */
export async function withInterrupts(work: (interrupts: Interrupts) => Promise<number>): Promise<number> {
  const interrupts = new Interrupts((signal) => process.exit(interruptExitCode(signal)));
  try {
    return await work(interrupts);
  } catch (error) {
    if (error instanceof Interrupted) return error.exitCode;
    throw error;
  } finally {
    interrupts.dispose();
  }
}
