// The system's ssh, in the foreground: it has our descriptors and our process group, and we only wait for it.
import { spawn } from 'node:child_process';
import { accessSync, constants, statSync } from 'node:fs';
import { constants as osConstants } from 'node:os';
import { isAbsolute, join } from 'node:path';
import { operationFailed } from '../../core/errors.ts';

type Env = Readonly<Record<string, string | undefined>>;

/** Absolute path of a program in PATH. */
export function findInPath(program: string, env: Env): string | undefined {
  return (env['PATH'] ?? '').split(':').filter((dir) => isAbsolute(dir)).map((dir) => join(dir, program)).find(isProgram);
}

function isProgram(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return statSync(path).isFile();
  } catch {
    return false; // not there, or not ours to run
  }
}

/** From the terminal they reach ssh as well, being for the whole foreground group; sent to us alone they are handed on. */
const handedOn = ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT'] as const;

/** Runs it to its end; answers its exit code, 128+n when signal n ended it. @throws operation_failed when it does not start */
export function runInForeground(program: string, args: readonly string[], env: Env): Promise<number> {
  return new Promise((resolve, reject) => {
    // Before it is begun: one of these between its start and ours to listen would end us and leave it alone. They run after this turn, when there is a child.
    const listeners = handedOn.map((signal) => [signal, () => void child.kill(signal)] as const);
    for (const [signal, listener] of listeners) process.on(signal, listener);
    const child = spawn(program, args, { stdio: 'inherit', env: { ...env } });
    const done = (settle: () => void): void => {
      for (const [signal, listener] of listeners) process.off(signal, listener);
      settle();
    };
    child.on('error', (error) => done(() => reject(operationFailed(`${program} does not start`, { cause: error }))));
    child.on('exit', (code, signal) => done(() => resolve(signal === null ? code ?? 1 : 128 + osConstants.signals[signal])));
  });
}
