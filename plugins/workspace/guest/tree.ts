// What is at paths of the guest, and removing it, by the agent's own program (guest/README.md, "Paths of a tree"). What it says is the guest's word.
import { operationFailed, timedOut } from '../../../core/plugin-api.ts';
import type { GuestExit, Vm } from '../../../core/plugin-api.ts';
import { runInGuest } from './run.ts';
import type { GuestTarget } from './run.ts';
import { safeLines } from './script.ts';

export interface TreeTarget extends GuestTarget {
  /** A guest that neither takes nor answers anything over so long is given up; removing a tree is one such silence. @default 300000 */
  readonly idleLimitMs?: number;
}

/** Paths are latin1 strings, a character a byte, relative to the root. */
export interface Expected {
  readonly path: string;
  /** `leaves`: a directory with `size` things below that are no directories with entries; what differs says how many, or some number above `size`. */
  readonly kind: 'file' | 'link' | 'dir' | 'leaves' | 'none';
  /** Permission bits; of a file the owner's right to execute counts, else nothing. */
  readonly mode: number;
  /** Bytes; counts for files and links, as does the time. */
  readonly size: number;
  readonly mtimeNs: bigint;
}
export interface Differing {
  readonly path: string;
  /** `other`: a device, a socket and the like, or the path leads through a symlink. */
  readonly kind: 'file' | 'link' | 'dir' | 'other' | 'none';
  readonly mode: number;
  readonly size: number;
  readonly mtimeNs: bigint;
}

const defaultIdleLimitMs = 300_000;
const longestMs = 1_800_000;
/** Letter, mode, size, time, and what is between them. */
const maxStampBytes = 64;
const maxSaidChars = 16 * 1024;
const chunkChars = 64 * 1024;
const second = 1_000_000_000n;
const linkTaken = 4;

const letters = { file: 'f', link: 'l', dir: 'd', leaves: 'D', none: '-' } as const;
const kinds = { f: 'file', l: 'link', d: 'dir', o: 'other', '-': 'none' } as const;

/**
 * Those that are not as expected, with what is there, in the order asked. A root that is not there has nothing in it.
 *
 * @throws operation_failed; timeout; the signal's reason
 */
export async function checkTree(target: TreeTarget, root: string, expected: readonly Expected[]): Promise<readonly Differing[]> {
  if (expected.length === 0) return [];
  // Each is answered once at most.
  const maxBytes = expected.reduce((sum, { path }) => sum + path.length + maxStampBytes, 0);
  const { stdout } = await runTree(target, ['check', root], { input: expected.map(recordOf), maxBytes });
  const asked = new Set(expected.map(({ path }) => path));
  return stdout.split('\0').slice(0, -1).map((record) => parseAnswer(record, { asked, vm: target.vm }));
}

/**
 * Unlinks files and links, then removes the directories on the way to them that are left empty. Missing ones are fine.
 *
 * @throws operation_failed when one stays: a directory, or what is behind a symlink; timeout; the signal's reason
 */
export async function removeFiles(target: TreeTarget, root: string, paths: readonly string[]): Promise<void> {
  if (paths.length > 0) await runTree(target, ['remove', root], { input: paths });
}

/** Removes a tree, root included; a file or link in its place as well. Follows no symlink. @throws operation_failed at a mount point; timeout; the signal's reason */
export async function wipeTree(target: TreeTarget, root: string): Promise<void> {
  await runTree(target, ['wipe', root]);
}

/** Removes what is at paths below the root, trees too, and follows no symlink. Missing ones are fine. @throws as wipeTree */
export async function clearPaths(target: TreeTarget, root: string, paths: readonly string[]): Promise<void> {
  if (paths.length > 0) await runTree(target, ['clear', root], { input: paths });
}

/** As `mkdir -p`. @throws operation_failed; timeout; the signal's reason */
export async function makeDirs(target: TreeTarget, path: string): Promise<void> {
  await runTree(target, ['mkdir', path]);
}

/** Makes a symlink, or points one elsewhere. Anything else that is there stays: `taken`. @throws operation_failed; timeout; the signal's reason */
export async function linkPath(target: TreeTarget, path: string, to: string): Promise<'linked' | 'taken'> {
  const { code } = await runTree(target, ['link', path, to], { okCodes: [0, linkTaken] });
  return code === linkTaken ? 'taken' : 'linked';
}

function recordOf({ path, kind, mode, size, mtimeNs }: Expected): string {
  if (kind === 'none') return `- 0 0 0.000000000 ${path}`;
  // Rounded down, as the kernel has times before 1970.
  const nanoseconds = ((mtimeNs % second) + second) % second;
  return `${letters[kind]} ${(mode & 0o7777).toString(8)} ${size} ${(mtimeNs - nanoseconds) / second}.${String(nanoseconds).padStart(9, '0')} ${path}`;
}

function parseAnswer(record: string, { asked, vm }: { readonly asked: Set<string>; readonly vm: Vm }): Differing {
  const [, kind, mode, size, seconds, nanoseconds, path] = /^([fldo-]) ([0-7]{1,5}) (\d{1,15}) (-?\d{1,18})\.(\d{9}) (.*)$/s.exec(record) ?? [];
  // Each is answered once at most, so that the answer is no longer than the question.
  if (path === undefined || !asked.delete(path)) throw operationFailed(`The guest of ${vm.name} answers something else than it was asked`);
  return {
    path, kind: kinds[kind as keyof typeof kinds], mode: Number.parseInt(mode!, 8), size: Number(size), mtimeNs: BigInt(seconds!) * second + BigInt(nanoseconds!),
  };
}

interface TreeCall { readonly input?: readonly string[]; readonly okCodes?: readonly number[]; readonly maxBytes?: number }
interface TreeResult { readonly code: number; /** latin1 */ readonly stdout: string }

async function runTree(target: TreeTarget, words: readonly string[], { input, okCodes = [0], maxBytes = 4096 }: TreeCall = {}): Promise<TreeResult> {
  const { vm, idleLimitMs = defaultIdleLimitMs } = target;
  const answers: Buffer[] = [];
  let bytes = 0;
  let said = '';
  const exit = await runInGuest(target, {
    request: { command: ['tree', ...words], builtin: true, env: {} },
    silence: { limitMs: idleLimitMs, longestMs, expired: (limitMs) => timedOut(`the guest of ${vm.name} to look at its files`, limitMs) },
    input: input === undefined ? undefined : chunksOf(input),
    onStdout(chunk) {
      bytes += chunk.length;
      if (bytes > maxBytes) throw operationFailed(`The guest of ${vm.name} answers more than it was asked`);
      answers.push(chunk);
    },
    onStderr: (chunk) => { if (said.length < maxSaidChars) said += chunk.toString('latin1', 0, maxSaidChars); },
  });
  if ('code' in exit && okCodes.includes(exit.code)) return { code: exit.code, stdout: Buffer.concat(answers).toString('latin1') };
  throw failed(vm, words, { exit, said });
}

function failed(vm: Vm, words: readonly string[], { exit, said }: { readonly exit: GuestExit; readonly said: string }): Error {
  const lines = safeLines(said.replaceAll(/(^|\n)tree: /g, '$1'));
  const end = 'code' in exit ? `exit code ${exit.code}` : `signal ${exit.signal}`;
  // Such an agent says how it is used, and knows no `tree`, or not this verb of it.
  if (lines[0]?.startsWith('usage: agent ') === true) {
    return operationFailed(`The guest agent of ${vm.name} is older than this daemon`, { hint: `banger vm restart ${vm.name} gives it the new one` });
  }
  return operationFailed(`The guest of ${vm.name} failed at ${words[1]}: ${lines[0] ?? end}`, { detail: { verb: words[0], lines: lines.slice(0, 21), end } });
}

/** The records, a NUL behind each, as the guest takes them. */
function* chunksOf(records: readonly string[]): Generator<Buffer> {
  let chunk = '';
  for (const record of records) {
    if (record.includes('\0')) throw operationFailed('A path holds a NUL character');
    chunk += `${record}\0`;
    if (chunk.length < chunkChars) continue;
    yield Buffer.from(chunk, 'latin1');
    chunk = '';
  }
  yield Buffer.from(chunk, 'latin1');
}
