// Finds what a daemon left on the host by the mark its processes bear, never by program name.
import { readdirSync, readFileSync } from 'node:fs';

export interface MarkedProcess { readonly pid: number; readonly mark: string; readonly command: string }

function readOrEmpty(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return ''; // ended meanwhile, or not ours
  }
}

/** State letter of a process; `X` when there is none. */
export function processState(pid: number): string {
  const stat = readOrEmpty(`/proc/${pid}/stat`);
  return stat === '' ? 'X' : (stat.slice(stat.lastIndexOf(')') + 2)[0] ?? 'X');
}

/** Whether a process lives; zombies do not, unless threads of theirs, which keep its files and sockets open, have yet to end. */
export function isLive(pid: number): boolean {
  const state = processState(pid);
  return state === 'Z' ? hasThreads(pid) : state !== 'X';
}

function hasThreads(pid: number): boolean {
  try {
    return readdirSync(`/proc/${pid}/task`).length > 1;
  } catch {
    return false; // reaped meanwhile
  }
}

/** Live processes whose `BANGER_MARK` begins with the prefix. */
export function markedProcesses(prefix: string): MarkedProcess[] {
  const found: MarkedProcess[] = [];
  for (const name of readdirSync('/proc')) {
    if (!/^\d+$/.test(name)) continue;
    const mark = readOrEmpty(`/proc/${name}/environ`).split('\0').find((entry) => entry.startsWith('BANGER_MARK='))?.slice(12);
    if (mark?.startsWith(prefix) !== true || !isLive(Number(name))) continue;
    found.push({ pid: Number(name), mark, command: readOrEmpty(`/proc/${name}/cmdline`).split('\0').join(' ').slice(0, 200) });
  }
  return found;
}
