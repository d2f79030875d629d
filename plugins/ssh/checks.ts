import { stat } from 'node:fs/promises';
import { createConnection } from 'node:net';
import type { DoctorCheck } from '../../core/plugin-api.ts';
import { ensureClientKey } from './keys.ts';
import type { SshConfig } from './schema.ts';

/** What a check needs of the running plugin; filled by `setup`. */
export interface CheckRuntime { gatePath?: string; keyDir?: string; keyPath?: string }

const connectLimitMs = 3000;

export function sshChecks(runtime: CheckRuntime): readonly DoctorCheck<SshConfig>[] {
  return [{
    name: 'ssh',
    async run() {
      const { gatePath, keyDir, keyPath } = runtime;
      if (gatePath === undefined || keyDir === undefined) return { level: 'fail', detail: ['the ssh server has not started'] };
      const problem = await gateProblem(gatePath);
      if (problem !== undefined) {
        return { level: 'fail', detail: [`socket ${gatePath}: ${problem}`], hint: 'banger daemon stop, then any command starts it again' };
      }
      try {
        const { privateKeyPath } = await ensureClientKey(keyDir, keyPath);
        return { level: 'pass', detail: [`socket ${gatePath}`, `key ${privateKeyPath}`] };
      } catch (error) {
        return { level: 'fail', detail: [error instanceof Error ? error.message : String(error)], hint: 'see key_path in [plugins.ssh]' };
      }
    },
  }];
}

async function gateProblem(path: string): Promise<string | undefined> {
  const found = await stat(path).catch(() => undefined); // why it cannot be seen is said as "missing"
  if (found === undefined || !found.isSocket()) return 'missing';
  if ((found.mode & 0o077) !== 0) return 'open to other users';
  return new Promise((resolve) => {
    const socket = createConnection(path);
    const done = (result: string | undefined): void => {
      socket.destroy();
      resolve(result);
    };
    socket.setTimeout(connectLimitMs, () => done('does not answer'));
    socket.once('connect', () => done(undefined));
    socket.once('error', (error) => done(error.message));
  });
}
