// Whether the host's out-of-memory killer ended a process: its line in the kernel's log, or the counter of a memory cgroup.
import { constants } from 'node:fs';
import { open, readFile } from 'node:fs/promises';

/** Counter of the kills in a process's memory cgroup, as it was when the process started. */
export type OomMark = { readonly file: string; readonly count: number };

export interface OomAnswer {
  /** What tells of the kill. */
  readonly evidence?: string;
  /** What was looked at, and what could not be. */
  readonly looked: readonly string[];
}
/** Where to look; tests put files there. */
export interface OomSources { readonly kmsg: string; readonly cgroups: string; readonly proc: string }

const hostSources: OomSources = { kmsg: '/dev/kmsg', cgroups: '/sys/fs/cgroup', proc: '/proc' };
/** One read of /dev/kmsg gives one record, of less than 8 KiB; a log holds some thousands. */
const recordBytes = 8192;
const maxRecords = 50_000;

/** The counter of the group that a process is in; undefined where this host has none. */
export async function markOom(pid: number, sources: OomSources = hostSources): Promise<OomMark | undefined> {
  const groups = await readFile(`${sources.proc}/${pid}/cgroup`, 'utf8').catch(() => '');
  for (const file of counterFiles(groups, sources.cgroups)) {
    const count = await readCount(file);
    if (count !== undefined) return { file, count };
  }
  return undefined;
}

/** From /proc/PID/cgroup (cgroups(7)): version 1 has the controller `memory`, version 2 one line `0::`. */
function counterFiles(groups: string, root: string): string[] {
  const found = groups.split('\n').flatMap((line) => {
    const [, controllers, path] = /^\d+:([^:]*):(\/.*)$/.exec(line) ?? [];
    if (controllers === undefined || path === undefined || path.includes('/..')) return [];
    if (controllers.split(',').includes('memory')) return [`${root}/memory${path}/memory.oom_control`];
    return controllers === '' ? [`${root}${path}/memory.events`, `${root}/unified${path}/memory.events`] : [];
  });
  return found.map((file) => file.replaceAll(/\/+/g, '/'));
}

async function readCount(file: string): Promise<number | undefined> {
  const text = await readFile(file, 'utf8').catch(() => '');
  const count = /^oom_kill (\d+)$/m.exec(text)?.[1];
  return count === undefined ? undefined : Number(count);
}

/** Asks about processes that ended with KILL. `pids`: as the kernel counts them, so in a pid namespace of its own nothing is found. */
export async function lookForOom(pids: readonly number[], mark: OomMark | undefined, sources: OomSources = hostSources): Promise<OomAnswer> {
  const log = await readKernelLog(sources.kmsg);
  const line = typeof log === 'string' ? undefined : oomLine(log, pids);
  const looked = [typeof log === 'string' ? `the kernel's log (${sources.kmsg}) cannot be read: ${log}` : `looked at the kernel's log (${sources.kmsg})`];
  if (line !== undefined) return { evidence: line, looked };
  if (mark === undefined) return { looked: [...looked, 'no memory cgroup to look at'] };
  const count = await readCount(mark.file);
  looked.push(count === undefined ? `the counter in ${mark.file} is gone` : `looked at oom_kill in ${mark.file}: ${mark.count} at its start, ${count} now`);
  return count !== undefined && count > mark.count ? { evidence: `the kernel killed a process of its memory cgroup (${mark.file})`, looked } : { looked };
}

/** The newest line in which the kernel says that it killed one of the processes. */
export function oomLine(records: readonly string[], pids: readonly number[]): string | undefined {
  return records.findLast((record) => {
    const pid = /(?:^|: |\b)Killed process (\d+)[ ,]/.exec(record)?.[1];
    return pid !== undefined && pids.includes(Number(pid));
  });
}

/** The messages of the kernel's log without their prefix, oldest first; a text is why it cannot be read. */
async function readKernelLog(path: string): Promise<string[] | string> {
  const messages: string[] = [];
  try {
    const file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
    try {
      const buffer = Buffer.alloc(recordBytes);
      for (let count = 0; count < maxRecords; count += 1) {
        const bytes = await readRecord(file, buffer);
        if (bytes === 0) break;
        // priority,sequence,microseconds,flags;message, then lines of other fields (Documentation/ABI/testing/dev-kmsg).
        if (bytes > 0) messages.push(buffer.toString('utf8', 0, bytes).split('\n', 1)[0]?.replace(/^[^;]*;/, '') ?? '');
      }
    } finally {
      await file.close();
    }
  } catch (error) {
    return (error as NodeJS.ErrnoException).code ?? 'unknown error';
  }
  return messages;
}

/** 0: there is no more; -1: records were overwritten while we read, and reading goes on. */
async function readRecord(file: Awaited<ReturnType<typeof open>>, buffer: Buffer): Promise<number> {
  try {
    return (await file.read(buffer, 0, buffer.length)).bytesRead;
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'EAGAIN') return 0;
    if (code === 'EPIPE') return -1;
    throw error;
  }
}
