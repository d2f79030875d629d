// Writes that must not stop the work they note down: on a full disk the undoing is what makes room again.
import type { Logger } from '../plugin-api.ts';

/** Answers what went wrong, which is logged; `undefined` when the write is done. `what` reads like "state of devbox". */
export function tryWrite(log: Logger, what: string, write: () => void): Error | undefined {
  try {
    write();
    return undefined;
  } catch (thrown) {
    const error = thrown instanceof Error ? thrown : new Error(String(thrown));
    log.error({ err: error, what }, 'the database could not be written');
    return error;
  }
}
