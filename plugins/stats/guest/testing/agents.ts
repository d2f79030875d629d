// Test support: guests that say what a test wants, and this host in place of a guest.
import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import type { GuestExecRequest, GuestExit, GuestProcess, Vm } from '../../../../core/plugin-api.ts';
import { repoRoot } from '../../../../test/support/source-tree.ts';
import type { AskingAgent } from '../ask.ts';

export const testVm = { id: 'aaaaaaaaaaaa', name: 'devbox' } as Vm;

export interface Scripted {
  readonly request: GuestExecRequest;
  readonly stdout: PassThrough;
  readonly stderr: PassThrough;
  exit(how: GuestExit): void;
  /** As when the session is gone: there is no end of its output. */
  lose(error: Error): void;
  /** Whether the host has left it. */
  left(): boolean;
}
export interface ScriptedAgent extends AskingAgent { readonly begun: readonly Scripted[] }

/** `script` plays each program that is begun. */
export function scriptedAgent(script: (guest: Scripted) => void): ScriptedAgent {
  const begun: Scripted[] = [];
  return {
    begun,
    async exec(_vm, request) {
      const exit = Promise.withResolvers<GuestExit>();
      exit.promise.catch(() => undefined);
      const [stdin, stdout, stderr] = [new PassThrough(), new PassThrough(), new PassThrough()];
      let left = false;
      const guest: Scripted = {
        request, stdout, stderr, left: () => left,
        exit(how) {
          stdout.end();
          stderr.end();
          exit.resolve(how);
        },
        lose(error) {
          exit.reject(error);
          for (const stream of [stdin, stdout, stderr]) stream.destroy();
        },
      };
      begun.push(guest);
      setImmediate(script, guest);
      const process: GuestProcess = { stdin, stdout, stderr, exit: exit.promise, resize: () => undefined, signal: () => undefined, hangup: () => { left = true; } };
      return process;
    },
  };
}

/** Says it all and ends well. */
export const saying = (text: string): ScriptedAgent => scriptedAgent((guest) => {
  guest.stdout.write(Buffer.from(text, 'latin1'));
  guest.exit({ code: 0 });
});

/** The agent's programs as they were built, on this host, with more words. */
export function hostAgent(...more: readonly string[]): AskingAgent {
  return {
    async exec(_vm, request) {
      const child = spawn(join(repoRoot, 'dist/native/agent-asan'), [...request.command, ...more], { stdio: ['pipe', 'pipe', 'pipe'], detached: true });
      child.stdin.on('error', () => undefined);
      if (!request.stdin) child.stdin.end();
      const exit = new Promise<GuestExit>((resolve) => {
        child.on('exit', (code, signal) => resolve(code === null ? { signal: String(signal).replace(/^SIG/, ''), number: 0 } : { code }));
      });
      const hangup = (): void => {
        if (child.pid !== undefined && child.exitCode === null && child.signalCode === null) process.kill(-child.pid, 'SIGHUP');
      };
      return { stdin: child.stdin, stdout: child.stdout, stderr: child.stderr, exit, resize: () => undefined, signal: () => undefined, hangup };
    },
  };
}
