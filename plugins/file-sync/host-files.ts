// What an entry names on the host, read at the start of a VM. Nothing outside of the owner's home is read, links in a tree least of all.
import { constants } from 'node:fs';
import type { Stats } from 'node:fs';
import { open, readdir, realpath } from 'node:fs/promises';
import { join } from 'node:path';
import { isBangerError, operationFailed } from '../../core/plugin-api.ts';
import { tarEntry } from './tar.ts';
import type { SyncEntry } from './schema.ts';

/** All entries of one VM together: this is for settings, not for data. */
export const maxBytes = 64 * 1024 * 1024;
export const maxFiles = 10_000;

/** What is left of the limits; shared by all entries of a start. */
export interface Budget { bytes: number; files: number }
export const newBudget = (): Budget => ({ bytes: maxBytes, files: maxFiles });

interface Read {
  /** For errors: `file_sync[2]`. */
  readonly name: string;
  readonly budget: Budget;
  readonly signal: AbortSignal;
}

/**
 * Tar blocks of one entry; nothing for a path that is not there.
 *
 * @throws operation_failed for what cannot be read, lies outside of the home after all links, is neither file nor directory, or is too much
 */
export async function* readEntry(entry: SyncEntry, home: string, read: Read): AsyncGenerator<Buffer> {
  const path = await resolveInHome(entry.host, home, read.name);
  if (path === undefined) return;
  const found = await openPlain(path, read.name);
  if (found === 'gone') return;
  if (typeof found === 'string') throw operationFailed(`${read.name}: ${entry.host} is neither a file nor a directory`);
  const stats = await statOf(found);
  if (stats.isDirectory()) yield* readTree(path, { path: entry.guest, mode: stats.mode, mtimeSeconds: stats.mtimeMs / 1000 }, read);
  else yield await readFile(path, { path: entry.guest, mode: entry.mode }, read);
}

/** Where a path leads after all links; undefined when it does not exist. @throws operation_failed when that is outside of the home */
export async function resolveInHome(path: string, home: string, name: string): Promise<string | undefined> {
  try {
    const [real, realHome] = await Promise.all([realpath(path), realpath(home)]);
    if (real === realHome || real.startsWith(realHome === '/' ? '/' : `${realHome}/`)) return real;
    throw operationFailed(`${name}: ${path} leads to ${real}, outside of the home ${realHome}`);
  } catch (error) {
    if (isBangerError(error)) throw error;
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ENOTDIR') return undefined;
    throw cannotRead(name, path, error);
  }
}

const cannotRead = (name: string, path: string, cause: unknown): Error =>
  operationFailed(`${name}: ${path} cannot be read: ${(cause as NodeJS.ErrnoException).code ?? String(cause)}`, { cause });

type Handle = Awaited<ReturnType<typeof open>>;

/** Opens a file or directory, never through a link; a FIFO or device is not waited for. */
async function openPlain(path: string, name: string): Promise<Handle | 'link' | 'other' | 'gone'> {
  try {
    return await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ELOOP') return 'link';
    // A socket.
    if (code === 'ENXIO') return 'other';
    if (code === 'ENOENT') return 'gone';
    throw cannotRead(name, path, error);
  }
}

async function statOf(handle: Handle): Promise<Stats> {
  try {
    return await handle.stat();
  } finally {
    await handle.close();
  }
}

async function* readTree(path: string, target: { readonly path: string; readonly mode: number; readonly mtimeSeconds: number }, read: Read): AsyncGenerator<Buffer> {
  read.signal.throwIfAborted();
  spend(read, { files: 1, bytes: 0 });
  yield tarEntry({ ...target, type: 'directory' });
  const names = await readdir(path).catch((error: unknown) => { throw cannotRead(read.name, path, error); });
  for (const name of names.toSorted()) {
    const [from, to] = [join(path, name), `${target.path}/${name}`];
    const handle = await openPlain(from, read.name);
    // Links in a tree may lead anywhere, sockets, FIFOs and devices are no content, and what has gone meanwhile is not missed.
    if (typeof handle === 'string') continue;
    const stats = await statOf(handle);
    if (stats.isDirectory()) yield* readTree(from, { path: to, mode: stats.mode, mtimeSeconds: stats.mtimeMs / 1000 }, read);
    else if (stats.isFile()) yield await readFile(from, { path: to, mode: undefined }, read);
  }
}

/** One file whole, as it is while it is open. */
async function readFile(path: string, target: { readonly path: string; readonly mode: number | undefined }, read: Read): Promise<Buffer> {
  const handle = await openPlain(path, read.name);
  if (typeof handle === 'string') throw operationFailed(`${read.name}: ${path} was replaced while it was read`);
  try {
    const stats = await handle.stat();
    if (!stats.isFile()) throw operationFailed(`${read.name}: ${path} is neither a file nor a directory`);
    spend(read, { files: 1, bytes: stats.size });
    const content = Buffer.alloc(stats.size);
    let length = 0;
    while (length < content.length) {
      const { bytesRead } = await handle.read(content, length, content.length - length, length);
      if (bytesRead === 0) break;
      length += bytesRead;
    }
    return tarEntry({ path: target.path, type: 'file', mode: target.mode ?? stats.mode, mtimeSeconds: stats.mtimeMs / 1000 }, content.subarray(0, length));
  } finally {
    await handle.close();
  }
}

function spend({ name, budget }: Read, { files, bytes }: { readonly files: number; readonly bytes: number }): void {
  budget.files -= files;
  budget.bytes -= bytes;
  if (budget.bytes < 0) throw operationFailed(`${name}: the files to copy are over ${maxBytes / 1024 / 1024} MiB together`, { hint: 'banger vm cp copies more' });
  if (budget.files < 0) throw operationFailed(`${name}: there are over ${maxFiles} files to copy`, { hint: 'banger vm cp copies more' });
}
