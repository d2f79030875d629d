// The only place of this plugin that runs git on the host. Whatever the repository's configuration says, git asks nobody, reaches for no
// network, runs no hook, takes no lock it can do without, and starts no housekeeping. Output is latin1: a character a byte.
import { BangerError } from '../../../core/plugin-api.ts';
import type { Exec } from '../../../core/plugin-api.ts';

export interface GitOptions {
  /** Text is latin1. */
  readonly input?: string | Uint8Array;
  /** @default [0] */
  readonly okCodes?: readonly number[];
  /** Values are ordinary strings. */
  readonly env?: Readonly<Record<string, string>>;
  /** @default 600000 */
  readonly timeoutMs?: number;
  /** Directory to run in. @default the one that `createGit` got */
  readonly cwd?: string;
}
export interface Git {
  /**
   * @param args ordinary strings, handed on as UTF-8; names from the repository go through `input` instead
   * @throws operation_failed (`detail.stderr`: git's last lines); missing_requirement without git; workspace.too_large; timeout; cancelled
   */
  run(args: readonly string[], options?: GitOptions): Promise<{ /** latin1, whole. */ readonly stdout: string; readonly exitCode: number }>;
}

const settings = [
  'core.hooksPath=/dev/null', 'core.fsmonitor=false', 'gc.auto=0', 'maintenance.auto=false', 'protocol.allow=never',
].flatMap((setting) => ['-c', setting]);

/** Of our own environment: where the person's git configuration is. */
const handedOn = ['XDG_CONFIG_HOME', 'GIT_CONFIG_GLOBAL', 'GIT_CONFIG_SYSTEM', 'GIT_CONFIG_NOSYSTEM'];

const defaultTimeoutMs = 600_000;
/** A little less than the longest string there is. */
const maxOutputBytes = 500 * 1024 * 1024;

function environment(): Record<string, string> {
  const env: Record<string, string> = {
    GIT_TERMINAL_PROMPT: '0', GIT_OPTIONAL_LOCKS: '0', GIT_NO_LAZY_FETCH: '1', GIT_NO_REPLACE_OBJECTS: '1', GIT_LFS_SKIP_SMUDGE: '1',
    // Histories as their objects tell them: guests have no grafts. No such file can be.
    GIT_GRAFT_FILE: '/dev/null/grafts',
    // Stronger than `protocol.allow`: a configured `protocol.<name>.allow` does not win over it.
    GIT_ALLOW_PROTOCOL: '',
  };
  for (const name of handedOn) {
    const value = process.env[name];
    if (value !== undefined) env[name] = value;
  }
  return env;
}

/** Git in a directory of the host. `dir`: absolute, an ordinary string. `mark`: see `ExecOptions`. */
export function createGit(exec: Pick<Exec, 'run'>, dir: string, options: { readonly signal?: AbortSignal | undefined; readonly mark?: string | undefined } = {}): Git {
  return {
    async run(args, call = {}) {
      const { input } = call;
      const result = await exec.run('git', ['-C', call.cwd ?? dir, ...settings, ...args], {
        encoding: 'latin1', maxOutputBytes, timeoutMs: call.timeoutMs ?? defaultTimeoutMs, cwd: '/',
        env: { ...environment(), ...call.env },
        ...(input === undefined ? {} : { input: typeof input === 'string' ? Buffer.from(input, 'latin1') : input }),
        ...(call.okCodes === undefined ? {} : { okCodes: call.okCodes }),
        ...(options.signal === undefined ? {} : { signal: options.signal }),
        ...(options.mark === undefined ? {} : { mark: options.mark }),
      });
      // Exec keeps the end of what is too long; half an answer is none.
      if (result.stdout.length >= maxOutputBytes) throw new BangerError('workspace.too_large', `git ${args[0] ?? ''} answered with more than 500 MiB`);
      return { stdout: result.stdout, exitCode: result.exitCode };
    },
  };
}

/** Last lines that a failed git wrote to stderr; empty for other errors. */
export function gitStderr(error: unknown): string {
  if (!(error instanceof Error) || !('detail' in error)) return '';
  const stderr = (error.detail as { readonly stderr?: unknown } | undefined)?.stderr;
  return typeof stderr === 'string' ? stderr : '';
}
