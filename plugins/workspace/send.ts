// Sending a workspace's files: the list for the host's program, and another round for what changed on the host meanwhile.
import { lstat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { BangerError, operationFailed } from '../../core/plugin-api.ts';
import type { Logger, Vm } from '../../core/plugin-api.ts';
import type { GuestFiles, SentFiles } from '../copy/capability.ts';
import { isSameOnHost } from './manifest.ts';
import type { ManifestEntry } from './manifest.ts';
import { onDisk } from './host/bytes.ts';
import { escapeName } from './host/escape.ts';

export interface SendCall {
  readonly files: GuestFiles;
  readonly vm: Vm;
  readonly guestPath: string;
  /** Directory of ours for the list. */
  readonly dir: string;
  /** The staged part of `.git`, and where the working files are. */
  readonly bases: readonly string[];
  readonly opId: string;
  readonly signal: AbortSignal;
  readonly log: Logger;
  onProgress(bytes: number): void;
}
export interface SendParts {
  /** Below the first base; before the working files. */
  readonly first: readonly string[];
  /** Below the second base, with what they were when the index was made. */
  readonly work: ReadonlyMap<string, ManifestEntry>;
  /** Below the first base: index, refs and HEAD, which make the rest count. */
  readonly last: readonly string[];
}
export interface Sent { readonly bytes: number; /** Of the working files, as they were sent; those that vanished meanwhile are missing. */ readonly work: ReadonlyMap<string, ManifestEntry> }

/** Files that somebody edits while they are read get another chance this often. */
const rounds = 3;

/** @throws workspace.changed when the host's files do not come to rest; operation_failed; timeout */
export async function sendParts(call: SendCall, parts: SendParts): Promise<Sent> {
  const work = new Map(parts.work);
  let bytes = 0;
  let todo: readonly string[] = [...work.keys()];
  for (let round = 1; ; round += 1) {
    const isFirst = round === 1;
    const list = [...(isFirst ? parts.first.map((path) => `0/${path}`) : []), ...todo.map((path) => `1/${path}`), ...(isFirst ? parts.last.map((path) => `0/${path}`) : [])];
    const before = bytes;
    const sent = await sendList(call, list, (now) => {
      bytes = before + now;
      call.onProgress(bytes);
    });
    if (sent?.guestPartial === true) throw leftOut(sent.notes);
    const changed = await changedSince(call, work, todo);
    for (const [path, entry] of changed) {
      if (entry === undefined) work.delete(path);
      else work.set(path, entry);
    }
    todo = [...changed].flatMap(([path, entry]) => (entry === undefined ? [] : [path]));
    if (todo.length === 0) {
      // What cannot be read is no change, and nothing that another round would mend.
      if (sent?.hostPartial === true && changed.size === 0) throw leftOut(sent.notes);
      return { bytes, work };
    }
    if (round === rounds) {
      throw new BangerError('workspace.changed', `Files of the workspace change while they are sent: ${todo.slice(0, 3).map(escapeName).join(', ')}`, { hint: 'stop what writes them, and prepare again' });
    }
  }
}

const leftOut = (notes: readonly string[]): BangerError =>
  operationFailed(`Not all of the workspace arrived: ${notes[0] ?? 'something was left out'}`, { detail: { notes } });

async function sendList(call: SendCall, list: readonly string[], onProgress: (bytes: number) => void): Promise<SentFiles | undefined> {
  if (list.length === 0) return undefined;
  const listFile = join(call.dir, 'list');
  await writeFile(listFile, Buffer.from(list.map((path) => `${path}\0`).join(''), 'latin1'), { mode: 0o600 });
  const { files, vm, guestPath, signal, opId, log } = call;
  return files.send(vm, { listFile, bases: call.bases, guestPath }, { signal, opId, log, onProgress });
}

const atOnce = 256;

/** Of the paths, those whose file is another now; undefined: gone. */
async function changedSince(call: SendCall, work: ReadonlyMap<string, ManifestEntry>, paths: readonly string[]): Promise<Map<string, ManifestEntry | undefined>> {
  const changed = new Map<string, ManifestEntry | undefined>();
  for (let at = 0; at < paths.length; at += atOnce) {
    await Promise.all(paths.slice(at, at + atOnce).map(async (path) => {
      const now = await entryOf(onDisk(call.bases[1]!, path));
      if (now === undefined || !isSameOnHost(work.get(path)!, now)) changed.set(path, now);
    }));
  }
  return changed;
}

async function entryOf(path: Buffer): Promise<ManifestEntry | undefined> {
  try {
    const stat = await lstat(path, { bigint: true });
    if (!stat.isFile() && !stat.isSymbolicLink()) return undefined;
    return {
      kind: stat.isFile() ? 'file' : 'link', mode: Number(stat.mode & 0o7777n), size: Number(stat.size), mtimeNs: stat.mtimeNs, ctimeNs: stat.ctimeNs, ino: stat.ino,
    };
  } catch (error) {
    if (['ENOENT', 'ENOTDIR'].includes((error as NodeJS.ErrnoException).code ?? '')) return undefined;
    throw error;
  }
}
