// Identity and end of host processes, by /proc. A process is boot id, pid and start time; states Z, once no thread is left, and X count as dead.
import { readdirSync, readFileSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import type { Processes } from './capabilities.ts';
import type { ProcessIdentity } from './model.ts';
import { operationFailed, timedOut } from './errors.ts';

type Found = ReturnType<Processes['findByMark']>[number];

/** After KILL a process is gone in milliseconds, unless it hangs in the kernel. */
const defaultLimitMs = 10_000;

/** Processes of this host. */
export function createProcesses(): Processes {
  const hostBootId = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
  const identify = (pid: number): ProcessIdentity | undefined => {
    const stat = readStat(pid);
    return stat && (!stat.dead || hasThreads(pid)) ? { hostBootId, pid, startTime: stat.startTime } : undefined;
  };
  const isAlive = (process: ProcessIdentity): boolean =>
    process.hostBootId === hostBootId && identify(process.pid)?.startTime === process.startTime;

  return {
    hostBootId,
    identify,
    isAlive,
    async end(target, { graceMs, limitMs = defaultLimitMs }) {
      if (graceMs > 0) {
        if (!isAlive(target) || !send(target.pid, 'SIGTERM')) return;
        if (await gone(() => !isAlive(target), graceMs)) return;
      }
      if (!isAlive(target) || !send(target.pid, 'SIGKILL')) return;
      if (!(await gone(() => !isAlive(target), limitMs))) throw timedOut(`the end of process ${target.pid}`, limitMs);
    },
    findByMark(mark, options = {}) {
      const found: Found[] = [];
      for (const entry of readdirSync('/proc')) {
        if (!/^[0-9]+$/.test(entry)) continue;
        const pid = Number(entry);
        const value = readMark(pid);
        if (value === undefined || !(options.prefix ? value.startsWith(mark) : value === mark)) continue;
        const process = identify(pid);
        // The pid may have got another owner since its environment was read.
        if (process && readMark(pid) === value) found.push({ process, mark: value, command: readCommand(pid) });
      }
      return found;
    },
  };
}

interface Stat { readonly dead: boolean; readonly startTime: string }

/** Fields 3 (state) and 22 (start time) of /proc/PID/stat (proc_pid_stat(5)). */
export function parseStat(text: string): Stat {
  // Field 2, the command name, may hold spaces and parentheses, so fields are counted from the last `)`.
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
  const state = fields[0] ?? 'X';
  return { dead: state === 'Z' || state === 'X' || state === 'x', startTime: fields[19] ?? '' };
}

/** Whether threads of a zombie have yet to end. Until they have, its files, sockets and locks are held: QEMU's are its disks. */
function hasThreads(pid: number): boolean {
  try {
    return readdirSync(`/proc/${pid}/task`).length > 1;
  } catch {
    return false; // gone meanwhile
  }
}

function readStat(pid: number): Stat | undefined {
  const text = readProc(pid, 'stat');
  return text === undefined ? undefined : parseStat(text.toString('latin1'));
}

/** `undefined` when the process is gone or not ours to read. */
function readProc(pid: number, file: string): Buffer | undefined {
  try {
    return readFileSync(`/proc/${pid}/${file}`);
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    if (code === 'ENOENT' || code === 'ESRCH' || code === 'EACCES' || code === 'EPERM') return undefined;
    throw error;
  }
}

const markKey = Buffer.from('BANGER_MARK=');

function readMark(pid: number): string | undefined {
  const environ = readProc(pid, 'environ');
  if (!environ) return undefined;
  let at = environ.indexOf(markKey);
  while (at > 0 && environ[at - 1] !== 0) at = environ.indexOf(markKey, at + 1);
  if (at < 0) return undefined;
  const end = environ.indexOf(0, at);
  return environ.toString('utf8', at + markKey.length, end < 0 ? environ.length : end);
}

function readCommand(pid: number): string {
  const line = readProc(pid, 'cmdline')?.toString('utf8').replaceAll('\0', ' ').trim();
  return line || `[${readProc(pid, 'comm')?.toString('utf8').trim() ?? '?'}]`;
}

/** false: no such process any more. */
function send(pid: number, signal: NodeJS.Signals): boolean {
  try {
    process.kill(pid, signal);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ESRCH') return false;
    throw operationFailed(`May not end process ${pid}`, { cause: error });
  }
}

/** Node has no pidfd, so the end of somebody else's child is polled, quickly at first. */
async function gone(isGone: () => boolean, limitMs: number): Promise<boolean> {
  const deadline = performance.now() + limitMs;
  let pauseMs = 2;
  while (!isGone()) {
    const leftMs = deadline - performance.now();
    if (leftMs <= 0) return false;
    await delay(Math.min(pauseMs, leftMs));
    pauseMs = Math.min(pauseMs * 2, 50);
  }
  return true;
}
