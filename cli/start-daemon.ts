// Starts bangerd, detached, and waits until it answers. Two CLIs may do this at once: the daemon sees to it that one stays.
import { spawn } from 'node:child_process';
import { closeSync, fstatSync, openSync, readFileSync, readSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { BangerError, type ErrorCode } from '../core/errors.ts';
import { packageRoot, type Paths } from '../core/paths.ts';

const startTimeoutMs = 10_000;
const firstWaitMs = 10;
const longestWaitMs = 100;

/** File that the daemon writes when it cannot start: JSON `{code, message, hint?}`, or plain text. */
export const startErrorFile = (paths: Pick<Paths, 'stateDir'>): string => join(paths.stateDir, 'bangerd.start-error');

/** @throws the reason the daemon gives; daemon_unreachable when it gives none */
export async function startDaemon<T>(paths: Paths, tryConnect: () => Promise<T | undefined>): Promise<T> {
  const startedAtMs = Date.now();
  const child = spawn(join(packageRoot(), 'bin', 'bangerd'), [], { cwd: '/', detached: true, stdio: 'ignore' });
  let ended: string | undefined;
  child.on('error', (error) => {
    ended = error.message;
  });
  child.on('exit', (code, signal) => {
    // The one that lost the race exits 0; another daemon answers then.
    if (code !== 0) ended = signal === null ? `exit code ${code}` : `signal ${signal}`;
  });
  child.unref();
  for (let waitMs = firstWaitMs; Date.now() - startedAtMs < startTimeoutMs; waitMs = Math.min(waitMs * 1.5, longestWaitMs)) {
    const hadEnded = ended;
    const client = await tryConnect();
    if (client !== undefined) return client;
    if (hadEnded !== undefined) throw startFailure(paths, { startedAtMs, how: hadEnded });
    await delay(waitMs);
  }
  throw startFailure(paths, { startedAtMs, how: `no answer within ${startTimeoutMs / 1000} s` });
}

function startFailure(paths: Paths, attempt: { readonly startedAtMs: number; readonly how: string }): BangerError {
  const text = readFresh(startErrorFile(paths), attempt.startedAtMs);
  if (text !== undefined) {
    try {
      const { code, message, hint } = JSON.parse(text) as { code?: unknown; message?: unknown; hint?: unknown };
      if (typeof code === 'string' && typeof message === 'string') {
        return new BangerError(code as ErrorCode, message, { hint: typeof hint === 'string' ? hint : undefined });
      }
    } catch {
      // Plain text then.
    }
    return new BangerError('daemon_unreachable', `The daemon did not start: ${text}`, { hint: `its log is ${paths.daemonLog}` });
  }
  const last = lastLogLine(paths.daemonLog, attempt.startedAtMs);
  return new BangerError('daemon_unreachable', `The daemon did not start: ${last ?? attempt.how}`, { hint: `its log is ${paths.daemonLog}` });
}

/** Content of a file written since; file times come from a clock that ticks every 4 ms. */
function readFresh(file: string, sinceMs: number): string | undefined {
  try {
    return statSync(file).mtimeMs >= sinceMs - 10 ? readFileSync(file, 'utf8').trim() : undefined;
  } catch {
    return undefined; // the daemon wrote none
  }
}

function lastLogLine(file: string, sinceMs: number): string | undefined {
  let fd: number | undefined;
  try {
    fd = openSync(file, 'r');
    const { size, mtimeMs } = fstatSync(fd);
    if (mtimeMs < sinceMs - 10) return undefined;
    const tail = Buffer.alloc(Math.min(size, 4096));
    readSync(fd, tail, 0, tail.length, size - tail.length);
    const line = tail.toString('utf8').trimEnd().split('\n').at(-1);
    return line === undefined || line === '' ? undefined : messageOf(line);
  } catch {
    return undefined; // no log yet
  } finally {
    if (fd !== undefined) closeSync(fd);
  }
}

function messageOf(line: string): string {
  try {
    const { msg } = JSON.parse(line) as { msg?: unknown };
    return typeof msg === 'string' ? msg : line;
  } catch {
    return line; // not a JSON log line
  }
}
