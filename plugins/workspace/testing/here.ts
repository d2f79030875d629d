// Test support: prepare and pull with this host as the guest: the real programs of both ends, real git, no VM.
import { execFile } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { createExec } from '../../../core/exec.ts';
import { createKeyedLock, isBangerError } from '../../../core/plugin-api.ts';
import type { CallContext, Logger, Vm } from '../../../core/plugin-api.ts';
import { gitEnvironment } from '../../../test/support/repo-script.ts';
import { repoRoot } from '../../../test/support/source-tree.ts';
import type { Prepare, Sides } from '../../../test/support/workspace-property.ts';
import type { GuestFiles } from '../../copy/capability.ts';
import type { WorkspaceDeps } from '../deps.ts';
import { prepareWorkspace } from '../prepare.ts';
import { pullWorkspace } from '../pull.ts';
import { createRecords } from '../record.ts';
import { prepareParams, pullParams, workspaceConfig } from '../schema.ts';
import type { PrepareParams } from '../schema.ts';
import { hostAgent } from './host-agent.ts';

const silent: Logger = { debug: () => undefined, info: () => undefined, warn: () => undefined, error: () => undefined, child: () => silent };

function sh(script: string | Buffer, words: readonly string[], env: NodeJS.ProcessEnv): Promise<{ readonly stdout: Buffer; readonly stderr: string }> {
  return new Promise((resolve, reject) => {
    const child = execFile('sh', words, { env, encoding: 'buffer', maxBuffer: 2 ** 28 }, (error, stdout, stderr) => {
      if (error) reject(new Error(stderr.toString(), { cause: error }));
      else resolve({ stdout, stderr: stderr.toString() });
    });
    child.stdin?.end(script);
  });
}

/** The programs of `vm cp`, joined by a pipe. */
const localFiles: GuestFiles = {
  async send(_vm, { listFile, bases, guestPath }) {
    const script = 'send=$1 receive=$2 list=$3 into=$4; shift 4; { "$send" send --list "$list" -- "$@" || echo "host: $?" >&2; } | "$receive" copy receive --into -- "$into" || echo "guest: $?" >&2';
    const program = (name: string): string => join(repoRoot, 'dist/native', name);
    const { stderr } = await sh('', ['-c', script, 'sh', program('copy'), program('agent'), listFile, guestPath, ...bases], process.env);
    const notes = stderr.split('\n').filter((line) => line !== '');
    return { notes, hostPartial: notes.includes('host: 1'), guestPartial: notes.includes('guest: 1') };
  },
};

export interface Here extends Sides {
  readonly deps: WorkspaceDeps;
  /** The next prepare sends nothing and fails, once it has made room. */
  cutNextSend(): void;
  /** How often a running VM was asked for. */
  readonly asked: number;
  prepare(how: Prepare & Partial<PrepareParams>): Promise<string | undefined>;
}

/** `dir`: an empty directory; its files below `host` and `guest`. */
export function workspaceHere(dir: string): Here {
  for (const name of ['host', 'guest', 'vm', 'home']) mkdirSync(join(dir, name));
  const vm = { id: 'aaaaaaaaaaaa', name: 'devbox', dir: join(dir, 'vm') } as Vm;
  const home = { HOME: join(dir, 'home'), GIT_CONFIG_GLOBAL: '/dev/null', GIT_CONFIG_NOSYSTEM: '1' };
  let [operations, asked] = [0, 0];
  let isCut = false;
  const call = (): CallContext => ({
    opId: `op-${(operations += 1).toString(36).padStart(8, 'a')}`, signal: new AbortController().signal, log: silent, stage: () => undefined, timeline: () => undefined,
  } as unknown as CallContext);
  const files: GuestFiles = {
    async send(...args) {
      if (!isCut) return localFiles.send(...args);
      isCut = false;
      throw new Error('cut');
    },
  };
  const deps: WorkspaceDeps = {
    exec: createExec(), agent: hostAgent(home), files, records: createRecords(), locks: createKeyedLock(), config: workspaceConfig.parse({}), log: silent,
    vms: { running: async () => { asked += 1; return vm; }, resolve: () => vm }, activity: { hold: () => () => undefined } as unknown as WorkspaceDeps['activity'], host: { slowdown: 1 },
    runJob: (_plan, { signal }, work) => work({ mark: 'test/devbox/workspace.sync', signal }),
  };
  return {
    deps, cutNextSend: () => { isCut = true; }, get asked() { return asked; },
    dir: join(dir, 'host'), vm: vm.name, guestDir: join(dir, 'guest'),
    run: async (script) => (await sh(script, ['-s'], { ...gitEnvironment(), ...home })).stdout,
    async prepare(how) {
      try {
        await prepareWorkspace(deps, prepareParams.parse({ ref: vm.name, ...how }), call());
        return undefined;
      } catch (error) {
        if (isBangerError(error) && error.code === 'workspace.would_overwrite') return `${error.message} ${JSON.stringify(error.detail)}`;
        throw error;
      }
    },
    pull: () => pullWorkspace(deps, pullParams.parse({ ref: vm.name }), call()),
  };
}
