// What the host's kernel tells of a VMM's process. Read synchronously: a file of /proc costs microseconds so, and ten times that through the
// thread pool. Callers with many VMs give the event loop its turn in between.
import { closeSync, openSync, readSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import type { ProcessIdentity } from '../../../core/plugin-api.ts';
import { Lane } from '../lane.ts';

export interface VmmFigures {
  readonly cpuSeconds: number;
  readonly rssBytes: number;
  readonly threads: number;
  /** Since the process was started. */
  readonly uptimeSeconds: number;
  /** Somebody stopped the process (state T, t): no guest of it can answer. */
  readonly isStopped: boolean;
}

/** USER_HZ, which /proc counts CPU time in, and the page size: both fixed on x86_64 Linux. */
const ticksPerSecond = 100;
const pageBytes = 4096;
const buffer = Buffer.allocUnsafe(4096);

/** One read, which is a snapshot in /proc; `undefined` when it cannot be read. */
function readProc(path: string): string | undefined {
  let fd: number;
  try {
    fd = openSync(path, 'r');
  } catch {
    return undefined; // gone, or not ours to see
  }
  try {
    return buffer.toString('latin1', 0, readSync(fd, buffer, 0, buffer.length, 0));
  } catch {
    return undefined; // ended between open and read
  } finally {
    closeSync(fd);
  }
}

/** Seconds since the host booted, as process start times are counted (proc_uptime(5)). */
export function hostUptimeSeconds(): number {
  return Number(readProc('/proc/uptime')?.split(' ', 1)[0] ?? Number.NaN);
}

/** `undefined` when that process is gone, or its pid has another owner now. */
export function readVmm(process: ProcessIdentity, uptimeSeconds: number = hostUptimeSeconds()): VmmFigures | undefined {
  const text = readProc(`/proc/${process.pid}/stat`);
  return text === undefined ? undefined : parseVmmStat(text, { startTime: process.startTime, uptimeSeconds });
}

/** Fields 3, 14, 15, 20, 22 and 24 of /proc/PID/stat (proc_pid_stat(5)). */
export function parseVmmStat(text: string, expected: { readonly startTime: string; readonly uptimeSeconds: number }): VmmFigures | undefined {
  // Field 2, the command name, may hold spaces and parentheses, so fields are counted from the last `)`; fields[0] is field 3.
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
  const at = (field: number): number => Number(fields[field - 3]);
  // Ended, and only not yet reaped by whoever started it.
  if (fields[19] !== expected.startTime || 'ZXx'.includes(fields[0] ?? '')) return undefined;
  const figures = {
    cpuSeconds: (at(14) + at(15)) / ticksPerSecond, rssBytes: at(24) * pageBytes, threads: at(20),
    uptimeSeconds: Math.max(0, expected.uptimeSeconds - at(22) / ticksPerSecond),
  };
  if (!Object.values(figures).every(Number.isFinite)) return undefined;
  return { ...figures, isStopped: fields[0] === 'T' || fields[0] === 't' };
}

/** Walks at once. Each takes one of the four threads that do all of the daemon's work with files, for tenths of a second where a VMM is large. */
const walks = new Lane(2);

/**
 * Proportional set size, from smaps_rollup: the kernel walks the process's page tables for it, so it is asked for few VMs at a time and never by
 * the poll. `undefined` where the daemon may not read it, as for a VMM under a uid of its own, or when it takes longer than the signal allows.
 */
export async function readPss(pid: number, signal: AbortSignal): Promise<number | undefined> {
  const walked = Promise.withResolvers<number | undefined>();
  // A walk itself cannot be given up: it may wait in the kernel for a VMM that holds its page tables.
  const giveUp = (): void => walked.resolve(undefined);
  signal.addEventListener('abort', giveUp, { once: true });
  if (signal.aborted) giveUp();
  void walks.run(async () => walked.resolve(signal.aborted ? undefined : await walk(pid, signal)));
  try {
    return await walked.promise;
  } finally {
    signal.removeEventListener('abort', giveUp);
  }
}

async function walk(pid: number, signal: AbortSignal): Promise<number | undefined> {
  try {
    const match = /^Pss:\s+(\d+) kB$/m.exec(await readFile(`/proc/${pid}/smaps_rollup`, { encoding: 'latin1', signal }));
    return match === null ? undefined : Number(match[1]) * 1024;
  } catch {
    return undefined; // said at readPss
  }
}
