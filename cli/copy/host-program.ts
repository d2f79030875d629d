// The program that both ends of a copy share, as this host's end: a child process that tells how far it is and how it ended.
import { spawn, type ChildProcess } from 'node:child_process';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { missingRequirement, operationFailed } from '../../core/errors.ts';
import { nativeDir } from '../../core/paths.ts';
import type { EndResult } from './end.ts';
import { EndLines } from './lines.ts';

/** What it tells while it runs: where it is, a few times a second; that all is sent; that the guest stalled after so many bytes. */
export type Report =
  | { readonly kind: 'progress'; readonly bytes: number; readonly name: string }
  | { readonly kind: 'sent' }
  | { readonly kind: 'stalled'; readonly bytes: number };

export interface HostProgramOptions {
  /** A line of its stderr. */
  readonly say: (line: string) => void;
  readonly onReport: (report: Report) => void;
  /** @default dist/native/copy */
  readonly program?: string;
}
/** Which of its standard streams are pipes to us; the others lead nowhere. */
export interface HostPipes { readonly stdin: boolean; readonly stdout: boolean }

/** Descriptor of the reports in the child. */
const reportFd = 3;

export class HostProgram {
  readonly label = 'host';
  readonly lines: EndLines;
  readonly child: ChildProcess;
  /** How it ended, after the last of its lines and reports; never rejects. */
  readonly closed: Promise<EndResult>;
  #isGone = false;

  /** `words`: verb, flags, `--` and paths. */
  constructor(words: readonly string[], pipes: HostPipes, options: HostProgramOptions) {
    const [verb, ...rest] = words;
    const program = options.program ?? join(nativeDir(), 'copy');
    const child = spawn(program, [verb!, '--progress-fd', String(reportFd), ...rest], {
      stdio: [pipes.stdin ? 'pipe' : 'ignore', pipes.stdout ? 'pipe' : 'ignore', 'pipe', 'pipe'],
    });
    this.child = child;
    this.lines = new EndLines(options.say);
    child.stderr!.on('data', (bytes: Buffer) => this.lines.push(bytes));
    watchReports(child.stdio[reportFd] as Readable, options.onReport);
    child.stdin?.on('error', () => { this.#isGone = true; }); // it has ended; its exit says why
    this.closed = new Promise((resolve) => {
      child.on('error', (error) => resolve({ error: cannotRun(error, program) }));
      child.on('close', (code, signal) => {
        this.#isGone = true;
        resolve(code === null ? { error: operationFailed(`The host's end of the copy was ended by signal ${signal}`) } : { code });
      });
    });
  }

  /** It takes nothing more. */
  get isGone(): boolean {
    return this.#isGone;
  }

  /** It removes what is half-written and ends; what it was told already it does not mind. */
  stop(): void {
    if (!this.#isGone) this.child.kill('SIGTERM');
  }

  closeStdin(): void {
    if (!this.#isGone) this.child.stdin!.end();
  }
}

function cannotRun(error: Error, program: string): Error {
  if ((error as NodeJS.ErrnoException).code !== 'ENOENT') return operationFailed('The host\'s end of the copy could not be started', { cause: error });
  return missingRequirement(`The program ${program} is missing`, 'install banger again; in a checkout: sh scripts/build.sh');
}

function watchReports(from: Readable, onReport: (report: Report) => void): void {
  let rest = '';
  from.setEncoding('utf8');
  from.on('error', () => undefined); // its exit says why
  from.on('data', (text: string) => {
    const lines = (rest + text).split('\n');
    rest = lines.pop() ?? '';
    for (const line of lines) {
      const report = parseReport(line);
      if (report !== undefined) onReport(report);
    }
  });
}

/** `<bytes> <entries> <name>`, `sent`, `stalled <bytes>`. */
function parseReport(line: string): Report | undefined {
  if (line === 'sent') return { kind: 'sent' };
  const stalled = /^stalled (\d+)$/.exec(line)?.[1];
  if (stalled !== undefined) return { kind: 'stalled', bytes: Number(stalled) };
  const [, bytes, name] = /^(\d+) \d+ (.*)$/.exec(line) ?? [];
  return bytes === undefined ? undefined : { kind: 'progress', bytes: Number(bytes), name: name! };
}
