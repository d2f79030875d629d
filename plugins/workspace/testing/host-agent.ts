// Test support: an agent whose guest is this host. Commands run as children; the agent's own programs are the ones of the build.
import { spawn } from 'node:child_process';
import { join } from 'node:path';
import type { GuestAgent, GuestExit, GuestProcess, Vm } from '../../../core/plugin-api.ts';
import { repoRoot } from '../../../test/support/source-tree.ts';

export const testVm = { id: 'aaaaaaaaaaaa', name: 'devbox' } as Vm;

/** `env`: added to what the request brings, such as a HOME without git configuration. */
export function hostAgent(env: Readonly<Record<string, string>> = {}): Pick<GuestAgent, 'exec'> {
  return {
    async exec(_vm, request) {
      const [program, ...words] = request.builtin === true ? [join(repoRoot, 'dist/native/agent'), ...request.command] : request.command;
      const child = spawn(program!, words, {
        stdio: ['pipe', 'pipe', 'pipe'], detached: true, env: { PATH: process.env['PATH'], ...request.env, ...env }, ...(request.cwd === undefined ? {} : { cwd: request.cwd }),
      });
      if (!request.stdin) child.stdin.end();
      child.stdin.on('error', () => undefined);
      const exit = new Promise<GuestExit>((resolve, reject) => {
        child.on('error', reject);
        child.on('exit', (code, signal) => resolve(code === null ? { signal: String(signal).replace(/^SIG/, ''), number: 0 } : { code }));
      });
      exit.catch(() => undefined);
      const hangup = (): void => { if (child.pid !== undefined && child.exitCode === null) process.kill(-child.pid, 'SIGHUP'); };
      const guest: GuestProcess = { stdin: child.stdin, stdout: child.stdout, stderr: child.stderr, exit, resize: () => undefined, signal: () => undefined, hangup };
      return guest;
    },
  };
}
