// How a VMM that is gone has ended, from what it left: the supervisor's record, the console log, the kernel's word.
import { constants } from 'node:os';
import type { VmEnd } from '../../core/plugin-api.ts';
import type { OomAnswer } from './oom.ts';
import type { VmmExit } from './process.ts';

export interface Remains {
  /** Undefined: the supervisor ended, too. */
  readonly exit: VmmExit | undefined;
  /** QEMU told that a write of the guest failed for want of space on the host. */
  readonly isDiskFull: boolean;
  /** The end of the console log of the last boot. */
  console(): Promise<string>;
  /** Asks whether the out-of-memory killer was it. */
  oom(): Promise<OomAnswer>;
}

const consoleLines = 20;
const panicWords = 'Kernel panic - not syncing';
const noSpace = /no space left|quota exceeded/i;
const diskFullNote = 'before that, writes of the guest failed: the disk of the host was full';

/** Never throws for what the remains say or lack. */
export async function judgeEnd(remains: Remains): Promise<VmEnd> {
  const { exit } = remains;
  const at = exit?.at === undefined ? {} : { at: exit.at };
  if (exit === undefined) return judgeUnrecorded(remains);
  if (exit.panic === true) return { reason: 'guest-panic', ...at, detail: await panicDetail(remains) };
  if (exit.signal !== undefined) return { ...await judgeSignal(exit, exit.signal, remains), ...at };
  return { ...judgeExit(exit, remains), ...at };
}

async function judgeUnrecorded(remains: Remains): Promise<VmEnd> {
  const { evidence, looked } = await remains.oom();
  if (evidence !== undefined) return { reason: 'out-of-memory', detail: [evidence, ...looked] };
  return { reason: 'vmm-died', detail: ['how is not known: its supervisor ended, too', ...looked] };
}

async function panicDetail({ console, isDiskFull }: Remains): Promise<string[]> {
  const lines = (await console()).split('\n').map((line) => line.trimEnd()).filter((line) => line !== '');
  const panic = lines.findLast((line) => line.includes(panicWords));
  const why = panic?.slice(panic.indexOf(panicWords) + panicWords.length).replace(/^: /, '');
  return [why === undefined || why === '' ? 'its reason is not in the log' : why, ...(isDiskFull ? [diskFullNote] : []), ...lines.slice(-consoleLines)];
}

/** Signals by which a fault of the program itself shows. */
const faults = new Set(['SIGSEGV', 'SIGBUS', 'SIGILL', 'SIGFPE', 'SIGABRT', 'SIGSYS', 'SIGTRAP']);

async function judgeSignal(exit: VmmExit, number: number, remains: Remains): Promise<VmEnd> {
  const name = Object.entries(constants.signals).find(([, value]) => value === number)?.[0] ?? `signal ${number}`;
  if (name === 'SIGKILL') {
    const { evidence, looked } = await remains.oom();
    if (evidence !== undefined) return { reason: 'out-of-memory', detail: [evidence, ...looked] };
    return { reason: 'vmm-killed', detail: ['SIGKILL; the kernel does not tell who sent it', 'no word of the out-of-memory killer', ...looked] };
  }
  // A write to a sparse file that is mapped, on a full disk.
  if (name === 'SIGBUS' && remains.isDiskFull) return { reason: 'disk-full', detail: ['QEMU ended with SIGBUS', ...wordsOf(exit)] };
  if (faults.has(name)) return { reason: 'vmm-died', detail: [`a fault of QEMU itself (${name}${name === 'SIGSYS' ? ': its sandbox refused a system call' : ''})`, ...wordsOf(exit)] };
  return { reason: 'vmm-killed', detail: [`${name}; the kernel does not tell who sent it`, ...wordsOf(exit)] };
}

function judgeExit(exit: VmmExit, { isDiskFull }: Remains): VmEnd {
  const words = wordsOf(exit);
  const killer = words.findLast((line) => line.includes('terminating on signal'));
  if (killer !== undefined || exit.reason === 'host-signal') return { reason: 'vmm-killed', detail: [killerOf(killer), ...words] };
  if (exit.code !== 0) {
    const full = isDiskFull || words.some((line) => noSpace.test(line));
    return { reason: full ? 'disk-full' : 'vmm-died', detail: [`QEMU ended with status ${exit.code ?? 'unknown'}${words.length === 0 ? '' : `: ${words.at(-1)}`}`, ...words] };
  }
  switch (exit.reason) {
    // Supervisors of earlier versions kept no reason; QEMU exits with 0 when its guest powers off.
    case undefined: case 'guest-shutdown': return { reason: 'guest-poweroff', ...(isDiskFull ? { detail: [diskFullNote] } : {}) };
    case 'guest-panic': return { reason: 'guest-panic' };
    case 'host-qmp-quit': return { reason: 'vmm-killed', detail: ['told to quit on its control socket'] };
    default: return { reason: 'vmm-died', detail: [exit.reason === '' ? 'QEMU ended and gave no reason' : `QEMU ended, and gave the reason ${exit.reason}`, ...words] };
  }
}

const wordsOf = ({ said }: VmmExit): string[] => (said ?? '').split('\n').map((line) => line.trim()).filter((line) => line !== '').slice(-5);

/** QEMU's own sentence: `terminating on signal 15 from pid 4242 (bash)`; the name is absent where QEMU may not read it. */
function killerOf(line: string | undefined): string {
  const [, number, pid, name] = /terminating on signal (\d+)(?: from pid (\d+)(?: \((.*)\))?)?/.exec(line ?? '') ?? [];
  const signal = Object.entries(constants.signals).find(([, value]) => value === Number(number))?.[0] ?? 'a signal';
  if (pid === undefined) return `${signal}; QEMU does not tell who sent it`;
  return `${signal} from pid ${pid}${name === undefined || name.startsWith('<unknown') ? '' : ` (${name})`}`;
}
