// Host programs: argument arrays, never a shell, bounded in time and output, ended as a group. The only importer of execa,
// which is loaded with the first call: the CLI imports this file too and its hot path must not pay for it.
import type { ChildProcess } from 'node:child_process';
import { access, constants, stat } from 'node:fs/promises';
import { isAbsolute, join } from 'node:path';
import type { Exec, ExecOptions, ExecResult } from './capabilities.ts';
import { BangerError, isBangerError, operationFailed } from './errors.ts';
import { spawnDetached } from './exec-detached.ts';
import { killGroup, lastLines, lineSplitter, outputTail, redactor } from './exec-output.ts';

type Env = Readonly<Record<string, string | undefined>>;

export interface ExecSettings {
  /** Environment the minimal one is taken from. @default process.env */
  readonly env?: Env;
}

const defaultTimeoutMs = 60_000;
const defaultMaxOutputBytes = 1024 * 1024;
const stderrTailLines = 20;
/** Between TERM and KILL: enough for a helper program to unmount and remove its staging. */
const killGraceMs = 2000;
/** A grandchild in a session of its own may hold our pipes after the program is gone. */
const pipeGraceMs = 1000;
const sbinDirs = ['/usr/local/sbin', '/usr/sbin', '/sbin'];

/** Groups of calls under way; ended when this process exits in an orderly way. After a crash they are found by mark. */
const liveGroups = new Set<number>();
let exitHook = false;

export function createExec(settings: ExecSettings = {}): Exec {
  const env = minimalEnv(settings.env ?? process.env);
  const find = (program: string): Promise<string | undefined> => findProgram(program, env['PATH'] ?? '');
  return {
    run: (program, args, options = {}) => run({ program, args, options, env, find }),
    spawnDetached: (program, args, options) => spawnDetached({
      program, args, ...options, env: { ...env, ...options.env, BANGER_MARK: options.mark },
    }),
    find,
  };
}

/** PATH with the sbin directories, HOME, LANG, TMPDIR: nothing of the caller's environment changes what a program does. */
export function minimalEnv(env: Env): Record<string, string> {
  const dirs = (env['PATH'] || '/usr/local/bin:/usr/bin:/bin').split(':').filter((dir) => isAbsolute(dir));
  const path = [...dirs, ...sbinDirs.filter((dir) => !dirs.includes(dir))].join(':');
  return {
    PATH: path,
    LANG: 'C.UTF-8',
    ...(env['HOME'] ? { HOME: env['HOME'] } : {}),
    ...(env['TMPDIR'] ? { TMPDIR: env['TMPDIR'] } : {}),
  };
}

async function findProgram(program: string, path: string): Promise<string | undefined> {
  const candidates = program.includes('/') ? [program] : path.split(':').map((dir) => join(dir, program));
  for (const file of candidates) {
    try {
      await access(file, constants.X_OK);
      if ((await stat(file)).isFile()) return file;
    } catch {
      // Not there, or not ours to run: the next directory may have it.
    }
  }
  return undefined;
}

interface Call {
  readonly program: string;
  readonly args: readonly string[];
  readonly options: ExecOptions;
  readonly env: Readonly<Record<string, string>>;
  readonly find: Exec['find'];
}
interface Outcome {
  readonly exitCode?: number | undefined;
  readonly signal?: string | undefined;
  readonly spawnError?: unknown;
  readonly stdout: string;
  readonly stderr: string;
  readonly durationMs: number;
  readonly stoppedBy?: 'timeout' | 'abort' | undefined;
}

async function run(call: Call): Promise<ExecResult> {
  const { signal, okCodes = [0] } = call.options;
  if (signal?.aborted) throw abortError(call, emptyOutcome);
  const outcome = await runProgram(call);
  if (outcome.stoppedBy === 'abort') throw abortError(call, outcome);
  if (outcome.stoppedBy === 'timeout') throw timeoutError(call, outcome);
  if (outcome.exitCode === undefined || !okCodes.includes(outcome.exitCode)) throw await failure(call, outcome);
  return { stdout: outcome.stdout, stderr: outcome.stderr, exitCode: outcome.exitCode, durationMs: outcome.durationMs };
}

const emptyOutcome: Outcome = { stdout: '', stderr: '', durationMs: 0 };

async function runProgram(call: Call): Promise<Outcome> {
  const { options } = call;
  const { execa } = await import('execa');
  const startedAt = performance.now();
  const subprocess = execa(call.program, [...call.args], {
    detached: true, cleanup: false, buffer: false, reject: false, stripFinalNewline: false, extendEnv: false, encoding: 'buffer',
    stdout: 'pipe', stderr: 'pipe',
    ...(options.input !== undefined ? { input: options.input } : { stdin: options.stdinUntil === undefined ? 'ignore' as const : 'pipe' as const }),
    ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
    env: { ...call.env, ...options.env, ...(options.mark === undefined ? {} : { BANGER_MARK: options.mark }) },
  });
  const max = options.maxOutputBytes ?? defaultMaxOutputBytes;
  const stdout = outputTail(subprocess.stdout, max, options.encoding);
  const stderr = outputTail(subprocess.stderr, max);
  if (options.onLine) for (const stream of [subprocess.stdout, subprocess.stderr]) lineSplitter(stream, options.onLine);
  const endStdin = (): void => { subprocess.nodeChildProcess.stdin?.end(); };
  options.stdinUntil?.then(endStdin, endStdin);
  const guard = guardGroup(subprocess.nodeChildProcess, options);
  try {
    const result = await subprocess;
    return {
      exitCode: result.exitCode, signal: result.signal, spawnError: subprocess.pid === undefined ? result.cause ?? result : undefined,
      stdout: stdout(), stderr: stderr(), durationMs: performance.now() - startedAt, stoppedBy: guard.stoppedBy(),
    };
  } finally {
    guard.done();
  }
}

/** Ends the group on timeout, on abort, and when the program itself is gone. */
function guardGroup(child: ChildProcess, options: ExecOptions): { stoppedBy(): Outcome['stoppedBy']; done(): void } {
  const pid = child.pid;
  if (pid === undefined) return { stoppedBy: () => undefined, done() {} };
  let stoppedBy: Outcome['stoppedBy'];
  const timers: NodeJS.Timeout[] = [];
  const stop = (why: 'timeout' | 'abort'): void => {
    if (stoppedBy !== undefined) return;
    stoppedBy = why;
    killGroup(pid, 'SIGTERM');
    timers.push(setTimeout(() => killGroup(pid, 'SIGKILL'), killGraceMs));
  };
  const onAbort = (): void => stop('abort');
  // Aborted while execa was loading: the event is past.
  if (options.signal?.aborted) onAbort();
  options.signal?.addEventListener('abort', onAbort, { once: true });
  timers.push(setTimeout(() => stop('timeout'), options.timeoutMs ?? defaultTimeoutMs));
  trackGroup(pid);
  child.once('exit', () => {
    killGroup(pid, 'SIGKILL');
    liveGroups.delete(pid);
    // Immediates come after the poll for input: what the program wrote is read first, even when we were busy for all of the grace time.
    timers.push(setTimeout(() => setImmediate(() => {
      child.stdout?.destroy();
      child.stderr?.destroy();
    }), pipeGraceMs));
  });
  return {
    stoppedBy: () => stoppedBy,
    done() {
      for (const timer of timers) clearTimeout(timer);
      options.signal?.removeEventListener('abort', onAbort);
      liveGroups.delete(pid);
    },
  };
}

function trackGroup(pid: number): void {
  liveGroups.add(pid);
  if (exitHook) return;
  exitHook = true;
  process.once('exit', () => {
    for (const group of liveGroups) killGroup(group, 'SIGKILL');
  });
}

function details(call: Call, outcome: Outcome): Record<string, unknown> {
  const redact = redactor(call.options.redact);
  return {
    program: call.program,
    args: call.args.map(redact),
    ...(outcome.exitCode === undefined ? {} : { exitCode: outcome.exitCode }),
    ...(outcome.signal === undefined ? {} : { signal: outcome.signal }),
    durationMs: Math.round(outcome.durationMs),
    stderr: redact(lastLines(outcome.stderr, stderrTailLines)),
    timedOut: outcome.stoppedBy === 'timeout',
    cancelled: outcome.stoppedBy === 'abort',
  };
}

async function failure(call: Call, outcome: Outcome): Promise<BangerError> {
  const detail = details(call, outcome);
  if (outcome.spawnError !== undefined) {
    if ((await call.find(call.program)) === undefined) {
      return new BangerError('missing_requirement', `Program ${call.program} is not found`, {
        hint: `install the package that has ${call.program}`, detail, cause: outcome.spawnError,
      });
    }
    return operationFailed(`${call.program} does not start`, { detail, cause: outcome.spawnError });
  }
  const how = outcome.signal === undefined ? `exit code ${outcome.exitCode}` : `signal ${outcome.signal}`;
  const last = redactor(call.options.redact)(lastLines(outcome.stderr, 1)).slice(0, 300);
  return operationFailed(`${call.program} failed with ${how}${last ? `: ${last}` : ''}`, { detail });
}

function timeoutError(call: Call, outcome: Outcome): BangerError {
  const seconds = (call.options.timeoutMs ?? defaultTimeoutMs) / 1000;
  return new BangerError('timeout', `${call.program} was ended because it took longer than ${seconds} s`, { detail: details(call, outcome) });
}

function abortError(call: Call, outcome: Outcome): BangerError {
  const reason: unknown = call.options.signal?.reason;
  if (isBangerError(reason)) return reason;
  return new BangerError('cancelled', `${call.program} was cancelled`, {
    detail: { ...details(call, outcome), cancelled: true }, cause: reason,
  });
}
