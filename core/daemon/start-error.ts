// Tells whoever started the daemon why it did not start: nobody reads a detached process's standard error.
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { isBangerError } from '../errors.ts';
import type { Paths } from '../paths.ts';

const fileOf = (paths: Pick<Paths, 'stateDir'>): string => join(paths.stateDir, 'bangerd.start-error');

/** JSON `{code, message, hint?}`; the CLI prints it. */
export function writeStartError(paths: Paths, error: unknown): void {
  const told = isBangerError(error)
    ? { code: error.code, message: error.message, hint: error.hint }
    : { code: 'internal', message: `The daemon did not start: ${error instanceof Error ? error.message : String(error)}` };
  mkdirSync(paths.stateDir, { recursive: true, mode: 0o700 });
  writeFileSync(fileOf(paths), `${JSON.stringify(told)}\n`, { mode: 0o600 });
}

export function clearStartError(paths: Paths): void {
  rmSync(fileOf(paths), { force: true });
}
