// What a guest says of its load, made into figures. All of it is the guest's word: a section that makes no sense is left out and named.
import { operationFailed } from '../../../core/plugin-api.ts';
import type { Vm } from '../../../core/plugin-api.ts';
import { ask } from './ask.ts';
import type { AskingAgent, AskOptions } from './ask.ts';

export interface GuestMemory {
  readonly totalBytes: number;
  /** What programs could still get without swapping: MemAvailable of /proc/meminfo. */
  readonly availableBytes: number;
  /** Total less available. */
  readonly usedBytes: number;
  readonly swapTotalBytes: number;
  readonly swapFreeBytes: number;
}
export interface GuestFileSystem {
  readonly path: '/' | '/root';
  readonly totalBytes: number;
  /** As `df` says it. */
  readonly usedBytes: number;
  /** For users who are not root. */
  readonly availableBytes: number;
  /** 0: the file system does not count. */
  readonly inodes: number;
  readonly freeInodes: number;
}
/** Absent: the guest did not tell. */
export interface GuestFigures {
  /** Since its boot, all CPUs together. `idle` includes waiting for disks; `stolen` is what the host did not give. */
  readonly cpu?: { readonly busySeconds: number; readonly idleSeconds: number; readonly stolenSeconds: number };
  /** By the guest's clock, milliseconds since 1970. */
  readonly bootedAtMs?: number;
  readonly uptimeSeconds?: number;
  readonly load?: readonly [oneMinute: number, fiveMinutes: number, fifteenMinutes: number];
  /** Threads. */
  readonly tasks?: { readonly running: number; readonly all: number };
  readonly memory?: GuestMemory;
  /** Hardware only (no loopback, bridges or containers), since its boot. */
  readonly network?: { readonly rxBytes: number; readonly txBytes: number };
  /** `/`, and `/root` where that is a file system of its own. */
  readonly fileSystems: readonly GuestFileSystem[];
  /** Sections that make no sense. */
  readonly odd: readonly string[];
}

/** Eight sections of 16 KiB. */
const maxBytes = 8 * (16 * 1024 + 64);

/** Asks a running guest. @throws timeout; cancelled; operation_failed; unsupported; what `exec` throws */
export async function askStat(agent: AskingAgent, vm: Vm, options: AskOptions): Promise<GuestFigures> {
  return parseStat(vm, await ask(agent, vm, { words: ['stat'], maxBytes, ...options }));
}

/** @throws operation_failed for what is not made of whole sections */
export function parseStat(vm: Pick<Vm, 'name'>, text: string): GuestFigures {
  const sections = splitSections(text);
  if (sections === undefined) throw operationFailed(`The guest of ${vm.name} answered with figures that cannot be read`);
  const odd: string[] = [];
  const read = <T>(name: string, parse: (body: string) => T | undefined): T | undefined => {
    const body = sections.get(name);
    const value = body === undefined ? undefined : parse(body);
    if (body !== undefined && value === undefined) odd.push(name);
    return value;
  };
  const fileSystems = (['/', '/root'] as const).flatMap((path) => read(`fs:${path}`, (body) => parseFileSystem(path, body)) ?? []);
  const parsed = {
    ...read('stat', parseCpu), ...read('loadavg', parseLoad), ...read('uptime', parseUptime),
    ...wrap('memory', read('meminfo', parseMemory)), ...wrap('network', read('netdev', parseNetwork)),
  };
  return { ...parsed, fileSystems, odd };
}

const wrap = <K extends string, V>(name: K, value: V | undefined): { readonly [name in K]?: V } => (value === undefined ? {} : { [name]: value } as { [name in K]: V });

/** undefined: cut off, or no sections. The first of a name counts. */
function splitSections(text: string): Map<string, string> | undefined {
  const sections = new Map<string, string>();
  let at = 0;
  while (at < text.length) {
    const line = /^([!-~]{1,40}) (\d{1,5})\n/.exec(text.slice(at, at + 64));
    if (line === null) return undefined;
    const start = at + line[0].length;
    const end = start + Number(line[2]);
    if (text[end] !== '\n') return undefined;
    if (!sections.has(line[1]!)) sections.set(line[1]!, text.slice(start, end));
    at = end + 1;
  }
  return sections.size === 0 ? undefined : sections;
}

/** The kernel counts CPU time in these for programs, on all machines that run here (USER_HZ). */
const ticksPerSecond = 100;
const maxMs = 8.64e15;

/** Whole numbers of at most 15 digits: sums of them are exact. undefined when one is not. */
function numbers(words: readonly string[]): number[] | undefined {
  return words.every((word) => /^\d{1,15}$/.test(word)) ? words.map(Number) : undefined;
}

const words = (line: string): string[] => line.trim().split(/ +/);
const sum = (values: readonly number[]): number => values.reduce((total, value) => total + value, 0);

function parseCpu(body: string): Pick<GuestFigures, 'cpu' | 'bootedAtMs'> | undefined {
  // The first digit ends the spaces: where both could take them, a line of 100,000 would be tried in five billion ways.
  const line = /^cpu +(\d[\d ]*)$/m.exec(body)?.[1];
  const counts = line === undefined ? undefined : numbers(words(line));
  if (counts === undefined || counts.length < 4 || counts.length > 20) return undefined;
  // Guests of the guest are counted in user and nice already.
  const [user = 0, nice = 0, system = 0, idle = 0, waiting = 0, irq = 0, softirq = 0, stolen = 0] = counts;
  const seconds = (...ticks: number[]): number => sum(ticks) / ticksPerSecond;
  const cpu = { busySeconds: seconds(user, nice, system, irq, softirq), idleSeconds: seconds(idle, waiting), stolenSeconds: seconds(stolen) };
  const booted = Number(/^btime (\d{1,15})$/m.exec(body)?.[1]) * 1000;
  return booted <= maxMs ? { cpu, bootedAtMs: booted } : { cpu };
}

function parseLoad(body: string): Pick<GuestFigures, 'load' | 'tasks'> | undefined {
  const match = /^(\d{1,9}\.\d{1,4}) (\d{1,9}\.\d{1,4}) (\d{1,9}\.\d{1,4}) (\d{1,9})\/(\d{1,9}) /.exec(body);
  if (match === null) return undefined;
  const [, one, five, fifteen, running, all] = match.map(Number);
  return { load: [one!, five!, fifteen!], tasks: { running: running!, all: all! } };
}

function parseUptime(body: string): Pick<GuestFigures, 'uptimeSeconds'> | undefined {
  const match = /^(\d{1,12}(?:\.\d{1,4})?) /.exec(body);
  return match === null ? undefined : { uptimeSeconds: Number(match[1]) };
}

function parseMemory(body: string): GuestMemory | undefined {
  const bytes = (name: string): number => Number(new RegExp(`^${name}: +(\\d{1,12}) kB$`, 'm').exec(body)?.[1]) * 1024;
  const [totalBytes, availableBytes] = [bytes('MemTotal'), bytes('MemAvailable')];
  // A kernel without swap has no such lines.
  const [swapTotalBytes, swapFreeBytes] = [bytes('SwapTotal') || 0, bytes('SwapFree') || 0];
  if (!(totalBytes > 0) || !(availableBytes <= totalBytes) || swapFreeBytes > swapTotalBytes) return undefined;
  return { totalBytes, availableBytes, usedBytes: totalBytes - availableBytes, swapTotalBytes, swapFreeBytes };
}

/** Nothing at all: a guest without a network. */
function parseNetwork(body: string): { readonly rxBytes: number; readonly txBytes: number } | undefined {
  const rows = body.split('\n').filter((line) => line !== '').map((line) => numbers(words(line.slice(line.indexOf(':') + 1))));
  const sums = rows.length > 256 || rows.some((row) => row === undefined || row.length < 9 || row.length > 20) ? undefined
    : { rxBytes: sum(rows.map((row) => row![0]!)), txBytes: sum(rows.map((row) => row![8]!)) };
  return sums !== undefined && Number.isSafeInteger(sums.rxBytes) && Number.isSafeInteger(sums.txBytes) ? sums : undefined;
}

function parseFileSystem(path: GuestFileSystem['path'], body: string): GuestFileSystem | undefined {
  const values = numbers(words(body.trimEnd()));
  if (values?.length !== 6) return undefined;
  const [blockBytes = 0, blocks = 0, free = 0, available = 0, inodes = 0, freeInodes = 0] = values;
  const totalBytes = blocks * blockBytes;
  if (blockBytes < 1 || blockBytes > 1 << 30 || free > blocks || available > free || freeInodes > inodes || !Number.isSafeInteger(totalBytes)) return undefined;
  return { path, totalBytes, usedBytes: (blocks - free) * blockBytes, availableBytes: available * blockBytes, inodes, freeInodes };
}
