// Programs that outlive the daemon. node:child_process itself, because execa keeps ties to its children.
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import type { ProcessIdentity } from './model.ts';
import { BangerError, missingRequirement, operationFailed, timedOut } from './errors.ts';
import { killGroup, lastLines } from './exec-output.ts';
import { createProcesses } from './process.ts';

export interface DetachedCall {
  readonly program: string;
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  readonly cwd?: string;
  readonly logFile: string;
  readonly readyLine?: { readonly timeoutMs: number };
}
export interface Detached { readonly process: ProcessIdentity; readonly line?: string }

const logTailLines = 20;
const logTailBytes = 16 * 1024;
const maxLineBytes = 64 * 1024;

/** Starts a program in a session of its own; its output goes to the end of `logFile`. Ends it again when it does not get ready. */
export async function spawnDetached(call: DetachedCall): Promise<Detached> {
  const logFd = openSync(call.logFile, 'a', 0o600);
  const logStart = fstatSync(logFd).size;
  let child: ChildProcess;
  try {
    child = spawn(call.program, [...call.args], {
      detached: true, env: call.env,
      stdio: ['ignore', call.readyLine ? 'pipe' : logFd, logFd],
      ...(call.cwd === undefined ? {} : { cwd: call.cwd }),
    });
  } finally {
    closeSync(logFd);
  }
  const failed = (how: string): BangerError => operationFailed(`${call.program} ${how}`, {
    detail: { program: call.program, args: call.args, log: readTail(call.logFile, logStart) },
  });
  if (child.pid === undefined) throw await spawnError(child, call);
  child.unref();
  // Read before the event loop can reap a child that died at once, so the pid is still its own.
  const process = createProcesses().identify(child.pid);
  if (!call.readyLine) {
    if (!process) throw failed('ended at once');
    return { process };
  }
  const line = await readyLine(child, call, failed);
  if (!process) throw failed('ended at once');
  return { process, line };
}

function spawnError(child: ChildProcess, call: DetachedCall): Promise<BangerError> {
  return new Promise((resolve) => {
    child.once('error', (error: NodeJS.ErrnoException) => resolve(error.code === 'ENOENT' && call.cwd === undefined
      ? missingRequirement(`Program ${call.program} is not found`, `install the package that has ${call.program}`)
      : operationFailed(`${call.program} does not start`, { cause: error })));
  });
}

function readyLine(child: ChildProcess, call: DetachedCall, failed: (how: string) => BangerError): Promise<string> {
  const stdout = child.stdout;
  const pid = child.pid;
  const limitMs = call.readyLine?.timeoutMs ?? 0;
  if (!stdout || pid === undefined) throw new BangerError('internal', 'A program without a pipe cannot say that it is ready');
  return new Promise((resolve, reject) => {
    let text = '';
    const settle = (): void => {
      clearTimeout(timer);
      child.removeAllListeners('exit');
      stdout.removeAllListeners();
      stdout.on('error', () => {});
      stdout.destroy();
    };
    const fail = (error: BangerError): void => {
      settle();
      killGroup(pid, 'SIGKILL');
      reject(error);
    };
    const timer = setTimeout(() => fail(timedOut(`${call.program} to get ready`, limitMs)), limitMs);
    stdout.setEncoding('utf8');
    stdout.on('data', (chunk: string) => {
      text += chunk;
      const end = text.indexOf('\n');
      if (end < 0) return text.length > maxLineBytes ? fail(failed('wrote no line')) : undefined;
      settle();
      resolve(text.slice(0, end));
    });
    // Output is complete at `end`, which may come before or after `exit`; only a closed pipe means that no line will come.
    stdout.on('end', () => fail(failed('ended before it was ready')));
  });
}

function readTail(file: string, from: number): string {
  const fd = openSync(file, 'r');
  try {
    const size = fstatSync(fd).size;
    const start = Math.max(from, size - logTailBytes);
    const buffer = Buffer.alloc(Math.max(0, size - start));
    const count = readSync(fd, buffer, 0, buffer.byteLength, start);
    return lastLines(buffer.toString('utf8', 0, count), logTailLines);
  } finally {
    closeSync(fd);
  }
}
