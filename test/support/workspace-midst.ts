// A prepare or a pull that is met half-way. What it needs to go on is stopped there (SIGSTOP), so that whatever is killed is killed in the midst:
// a moment that was missed fails the test.
import type { ChildProcess } from 'node:child_process';
import { existsSync, readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import type { OperationView } from '../../core/api.ts';
import type { RpcClient } from '../../core/rpc/client.ts';
import type { Host, RunResult } from './host.ts';
import { isLive } from './processes.ts';
import { git } from './repo-snapshot.ts';
import { waitFor, waitForMoment } from './wait.ts';

export interface Midst {
  readonly operation: string;
  readonly vmm: number;
  readonly daemon: number;
  readonly cli: ChildProcess;
  /** Of the command line. */
  readonly ended: Promise<RunResult>;
  /** What was stopped goes on, if it lives. */
  resume(): void;
}
interface Pids { readonly vmm: number; readonly daemon: number }
interface Command { readonly vm: string; readonly repo: string; readonly args?: readonly string[] }

async function asking<T>(host: Host, use: (client: RpcClient) => Promise<T>): Promise<T> {
  const client = await host.rpc();
  try {
    return await use(client);
  } finally {
    client.close();
  }
}
const show = async (client: RpcClient, id: string): Promise<OperationView> => (await client.call('daemon.operations.show', { id })).operation;
export const operationEnd = (host: Host, id: string): Promise<OperationView> => asking(host, (client) => waitFor(`operation ${id} to end`, async () => {
  const operation = await show(client, id);
  return operation.done ? operation : undefined;
}));
const running = (host: Host, kind: string): Promise<OperationView | undefined> =>
  asking(host, async (client) => (await client.call('daemon.operations.list', {})).operations.find((op) => op.kind === kind && !op.done));

async function begin(host: Host, verb: 'prepare' | 'pull', { vm, repo, args = [] }: Command) {
  const pids: Pids = { vmm: (await host.vm(vm)).process!.pid, daemon: (await host.daemonPid())! };
  const cli = host.spawnCli(['vm', 'workspace', verb, vm, repo, ...args]);
  const [stdout, stderr]: Buffer[][] = [[], []];
  cli.stdout!.on('data', (chunk: Buffer) => stdout!.push(chunk));
  cli.stderr!.on('data', (chunk: Buffer) => stderr!.push(chunk));
  const ended = new Promise<RunResult>((resolve) => {
    cli.on('close', (code, signal) => {
      const all = Buffer.concat(stdout!);
      resolve({ code: code ?? -1, signal, stdout: all, out: all.toString(), err: Buffer.concat(stderr!).toString() });
    });
  });
  const { id } = await waitFor(`the ${verb} to begin`, () => running(host, `vm.workspace.${verb}`));
  const stopAt = (pid: number): Midst => {
    process.kill(pid, 'SIGSTOP');
    return { ...pids, operation: id, cli, ended, resume: () => { if (isLive(pid)) process.kill(pid, 'SIGCONT'); } };
  };
  return { id, stopAt, pids };
}

/** A prepare that has sent so much; the VMM is stopped. */
export async function preparing(host: Host, command: Command & { readonly sentMiB: number }): Promise<Midst> {
  const { id, stopAt, pids } = await begin(host, 'prepare', command);
  await asking(host, (client) => waitForMoment('the files to be on their way', async () => {
    const { detail = '', done } = await show(client, id);
    return done || Number(/(\d+) MiB/.exec(detail)?.[1] ?? 0) >= command.sentMiB;
  }));
  return still(host, stopAt(pids.vmm), 'send');
}

/** A pull whose pack has begun to come; the VMM is stopped. */
export async function collecting(host: Host, command: Command): Promise<Midst> {
  const { id } = await host.vm(command.vm);
  const file = join(workspaceDir(host, id), 'staging-pull', 'work.pack');
  const { stopAt, pids } = await begin(host, 'pull', command);
  await waitForMoment('the pack to come', () => (statSync(file, { throwIfNoEntry: false })?.size ?? 0) > 0);
  return still(host, stopAt(pids.vmm), 'collect');
}

async function still(host: Host, midst: Midst, stage: string): Promise<Midst> {
  const operation = await asking(host, (client) => show(client, midst.operation));
  if (!operation.done && operation.stage === stage) return midst;
  midst.resume();
  throw new Error(`missed: the operation is ${operation.state} at ${operation.stage}`);
}

/** A pull whose objects are in quarantine in the host's repository; the daemon is stopped. */
export async function importing(host: Host, command: Command): Promise<Midst> {
  const { id, stopAt, pids } = await begin(host, 'pull', command);
  await waitForMoment('the quarantine', () => quarantines(command.repo).length > 0);
  const midst = stopAt(pids.daemon);
  if (quarantines(command.repo).length > 0 && !pulls(command.repo).has(id)) return midst;
  midst.resume();
  throw new Error('missed: the work is in');
}

const workspaceDir = (host: Host, vmId: string): string => join(host.stateDir, 'vms', vmId, 'workspace');
/** Directories of objects that are not the repository's yet. */
export const quarantines = (repo: string): string[] => readdirSync(join(repo, '.git', 'objects')).filter((name) => name.startsWith('tmp_'));
/** What a prepare or a pull has on the host's disk while it works. */
export function stagings(host: Host, vmId: string): string[] {
  const dir = workspaceDir(host, vmId);
  return existsSync(dir) ? readdirSync(dir).filter((name) => name.startsWith('staging')) : [];
}
/** Kinds of refs by operation. */
export function pulls(repo: string): Map<string, string[]> {
  const found = new Map<string, string[]>();
  for (const ref of git(repo, 'for-each-ref', '--format=%(refname)', 'refs/banger').split('\n').filter((line) => line !== '')) {
    const [, , , operation, kind] = ref.split('/') as [string, string, string, string, string];
    found.set(operation, [...found.get(operation) ?? [], kind]);
  }
  return found;
}
