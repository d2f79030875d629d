// The VMM's process: launched through our supervisor (`shim vmm`), which drops privileges, bounds the log and records the exit.
import { chmod, open, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { operationFailed } from '../../core/plugin-api.ts';
import type { Exec, MachineSpec, ProcessIdentity, Processes } from '../../core/plugin-api.ts';
import type { QemuHandle } from './capability.ts';
import { adoptEarlierLog, consoleBoots, consoleDir, keptBoots } from './console.ts';
import { markOom } from './oom.ts';

/** Everything of one VM's VMM on the host, decided by the plan of `qemu.boot`. */
export type BootPlan = {
  readonly uuid: string;
  /** `BANGER_MARK` of supervisor and VMM. */
  readonly mark: string;
  readonly dir: string;
  readonly qmpSocket: string;
  readonly agentSocket: string;
  /** Not in plans of versions before it. */
  readonly bulkSocket?: string;
  /** Not in plans of versions before it. */
  readonly consoleSocket?: string;
  readonly shimLog: string;
  readonly exitFile: string;
  readonly pidFile: string;
  /** Unprivileged uid of the VMM when we are root, else null. */
  readonly uid: number | null;
};
export interface LaunchInput {
  readonly plan: BootPlan;
  readonly program: string;
  readonly args: readonly string[];
  readonly machine: MachineSpec;
  readonly shim: string;
  readonly logMaxBytes: number;
  /** Group that opens /dev/kvm, when the VMM's uid cannot. */
  readonly group: number | undefined;
}

/** The supervisor's record of its VMM's end. Those of earlier versions have code or signal and the time. */
export interface VmmExit {
  readonly code?: number;
  readonly signal?: number;
  /** RFC 3339. */
  readonly at?: string;
  /** QEMU's own: `guest-shutdown`, `host-signal`, ...; empty when it gave none. */
  readonly reason?: string;
  /** The guest's kernel panicked. */
  readonly panic?: boolean;
  /** The last that QEMU itself said, ASCII. */
  readonly said?: string;
}

const readyTimeoutMs = 10_000;
const exitRecordMs = 2000;
/** Where the supervisor puts the sockets, in the order of its `--listen`, and its own control channel behind them. */
export const socketFds = { qmp: 3, agent: 4, bulk: 5, events: 6 } as const;

/** Starts supervisor and VMM. @throws operation_failed when the VMM could not be executed or died at once */
export async function launchVmm(input: LaunchInput, host: { readonly exec: Exec; readonly processes: Processes }): Promise<QemuHandle> {
  const { plan } = input;
  // The VMM's uid passes through to its disks but can neither list nor write the directory.
  if (plan.uid !== null) await chmod(plan.dir, 0o711);
  await adoptEarlierLog(plan.dir);
  const started = await host.exec.spawnDetached(input.shim, shimArgs(input), {
    mark: plan.mark, logFile: plan.shimLog, readyLine: { timeoutMs: readyTimeoutMs },
  });
  const pid = /^pid (\d+)$/.exec(started.line ?? '')?.[1];
  if (pid === undefined) throw operationFailed(`QEMU does not start: ${(started.line ?? '').replace(/^error /, '')}`);
  const process = host.processes.identify(Number(pid));
  if (!process) throw await endedAtStart(plan);
  const oom = await markOom(process.pid);
  return { process, shim: started.process, ...(oom === undefined ? {} : { oom }) };
}

function shimArgs(input: LaunchInput): string[] {
  const { plan, machine } = input;
  const netns = machine.netnsPidFile === undefined ? ['--netns', 'try'] : ['--netns-pid-file', machine.netnsPidFile];
  const identity = plan.uid === null ? [] : ['--uid', String(plan.uid), ...(input.group === undefined ? [] : ['--group', String(input.group)])];
  return [
    'vmm', '--mark', plan.mark, ...netns, ...identity,
    '--log-dir', consoleDir(plan.dir), '--log-max', String(input.logMaxBytes), '--log-keep', String(keptBoots),
    '--exit-file', plan.exitFile, '--pid-file', plan.pidFile,
    '--listen', plan.qmpSocket, '--listen', plan.agentSocket,
    ...option('--listen', plan.bulkSocket), '--events', 'qmp', ...option('--console', plan.consoleSocket),
    '--', input.program, ...input.args,
  ];
}

const option = (name: string, value: string | undefined): string[] => (value === undefined ? [] : [name, value]);

/** The supervisor's record, which it writes right after the VMM's end; undefined when it is not there while `mayCome`, and at most 2 s. */
export async function awaitExit(plan: BootPlan, mayCome: () => boolean): Promise<VmmExit | undefined> {
  const deadline = Date.now() + exitRecordMs;
  for (;;) {
    // Asked before the look: a supervisor that is gone by then has written.
    const isLast = !mayCome() || Date.now() >= deadline;
    const exit = await readExit(plan);
    if (exit !== undefined || isLast) return exit;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

/** The error for a VMM that ended before it answered, with its own last words. */
export async function endedAtStart(plan: BootPlan, cause?: unknown): Promise<Error> {
  const exit = await awaitExit(plan, () => true);
  const log = consoleBoots(plan.dir).at(-1)?.files.at(-1);
  const words = (exit?.said ?? '').split('\n').filter((line) => /^qemu[\w-]*: /.test(line)).slice(-3);
  const why = words.length > 0 ? words.join('; ') : `it said nothing (${JSON.stringify(exit ?? 'no exit record')})`;
  return operationFailed(`QEMU ended at its start: ${why}`, { cause, hint: log === undefined ? undefined : `the console log is ${log}` });
}

/** The last bytes of a log in parts, oldest first, as text; empty when there is none. */
export async function readTail(paths: readonly string[], bytes: number): Promise<string> {
  let tail = Buffer.alloc(0);
  for (const path of paths.toReversed()) {
    if (tail.length >= bytes) break;
    tail = Buffer.concat([await readEnd(path, bytes - tail.length), tail]);
  }
  return tail.toString('utf8');
}

async function readEnd(path: string, bytes: number): Promise<Buffer> {
  try {
    const file = await open(path, 'r');
    try {
      const { size } = await file.stat();
      const start = Math.max(0, size - bytes);
      const { buffer, bytesRead } = await file.read(Buffer.alloc(size - start), 0, size - start, start);
      return buffer.subarray(0, bytesRead);
    } finally {
      await file.close();
    }
  } catch {
    // No log is no words; who asks for them says so.
    return Buffer.alloc(0);
  }
}

/** How the VMM ended, from the supervisor's record. */
export async function readExit(plan: Pick<BootPlan, 'exitFile'>): Promise<VmmExit | undefined> {
  try {
    const value: unknown = JSON.parse(await readFile(plan.exitFile, 'utf8'));
    return typeof value === 'object' && value !== null ? value : undefined;
  } catch {
    // The supervisor was killed, or the VMM still runs.
    return undefined;
  }
}

/**
 * Ends VMM and supervisor and removes their files; the console logs stay until the VM's directory goes.
 *
 * Safe to run twice: the dead stay dead, missing files are no error. Finds processes started just before a crash by mark.
 */
export async function endVmm(plan: BootPlan, handle: QemuHandle | undefined, processes: Processes): Promise<void> {
  const known: ProcessIdentity[] = handle ? [handle.process, handle.shim] : [];
  for (const process of known) await processes.end(process, { graceMs: 0 });
  for (const { process } of processes.findByMark(plan.mark)) await processes.end(process, { graceMs: 0 });
  const sockets = [plan.qmpSocket, plan.agentSocket, plan.bulkSocket, plan.consoleSocket].filter((path) => path !== undefined);
  const files = [...sockets, plan.exitFile, `${plan.exitFile}.tmp`, plan.pidFile, `${plan.pidFile}.tmp`, plan.shimLog];
  for (const path of files) await rm(path, { force: true });
}

/** File names of a VM's VMM. */
export function bootPaths(dir: string): Pick<BootPlan, 'dir' | 'shimLog' | 'exitFile' | 'pidFile'> {
  return {
    dir, shimLog: join(dir, 'qemu-shim.log'),
    exitFile: join(dir, 'qemu-exit.json'), pidFile: join(dir, 'qemu.pid'),
  };
}
