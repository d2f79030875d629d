// What a VM's workspaces are, kept in the VM's directory: a small list, and for each workspace the files that were sent. Goes with the VM.
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { mkdir, readFile, readdir, rename, rm, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { removeTree } from '../../core/plugin-api.ts';
import type { Vm } from '../../core/plugin-api.ts';
import { decodeManifest, encodeManifest } from './manifest.ts';
import type { Manifest } from './manifest.ts';
import { pendingIndexes, recordFile } from './schema.ts';
import type { WorkspaceRecord } from './schema.ts';

type VmPlace = Pick<Vm, 'id' | 'dir'>;

export interface Pending {
  readonly files: Manifest;
  /** Digests of indexes, by git directory below the workspace. */
  readonly indexes: Readonly<Record<string, string>>;
}
export interface Records {
  /** The last prepared one first; empty when there is none, or what is written cannot be read. Synchronous: lists of VMs show it. */
  list(vm: VmPlace): readonly WorkspaceRecord[];
  /** The one at a path of the guest, or the last prepared. */
  find(vm: VmPlace, guestPath?: string): WorkspaceRecord | undefined;
  /** Puts it first. `objectsDir`: holds the objects of its base tree; it is taken over. */
  save(vm: VmPlace, record: WorkspaceRecord, sent: { readonly files: Manifest; readonly objectsDir: string }): Promise<void>;
  files(vm: VmPlace, guestPath: string): Promise<Manifest>;
  /** What a prepare that did not end was about to send: the guest may have any part of it. */
  pending(vm: VmPlace, guestPath: string): Promise<Pending>;
  savePending(vm: VmPlace, guestPath: string, pending: Pending): Promise<void>;
  /** Before the place gets something else: from then on what is pending tells what it has. */
  drop(vm: VmPlace, guestPath: string): Promise<void>;
  /** Drops what was remembered from memory, when the VM is gone. */
  forget(vmId: string): void;
}

/** The plugin's directory in a VM's. */
export const workspaceDir = (vm: VmPlace): string => join(vm.dir, 'workspace');
const keyOf = (guestPath: string): string => createHash('sha256').update(guestPath).digest('hex').slice(0, 12);
/** Files of one workspace of a VM: `files`, `pending`, `pending-indexes`, `objects-<tree>/`. */
const recordDir = (vm: VmPlace, guestPath: string): string => join(workspaceDir(vm), keyOf(guestPath));
/** Objects of a workspace's base tree that the host's repository need not have. */
export const baseObjectsDir = (vm: VmPlace, { guestPath, baseTree }: Pick<WorkspaceRecord, 'guestPath' | 'baseTree'>): string =>
  join(recordDir(vm, guestPath), `objects-${baseTree}`);
/** An empty directory for what is about to be sent or was received, per purpose. */
export const stagingDir = (vm: VmPlace, purpose: 'prepare' | 'pull'): string => join(workspaceDir(vm), `staging-${purpose}`);

export async function makeStaging(vm: VmPlace, purpose: 'prepare' | 'pull'): Promise<string> {
  await removeStaging(vm, purpose);
  const dir = stagingDir(vm, purpose);
  await mkdir(dir, { recursive: true, mode: 0o700 });
  return dir;
}

export async function removeStaging(vm: Pick<Vm, 'dir'>, purpose: 'prepare' | 'pull'): Promise<void> {
  await removeTree(join(vm.dir, 'workspace', `staging-${purpose}`), { within: vm.dir });
}

export function createRecords(): Records {
  const cache = new Map<string, readonly WorkspaceRecord[]>();
  const list = (vm: VmPlace): readonly WorkspaceRecord[] => {
    const known = cache.get(vm.id);
    if (known !== undefined) return known;
    const read = readRecords(join(workspaceDir(vm), 'workspaces.json'));
    cache.set(vm.id, read);
    return read;
  };
  return {
    list,
    find: (vm, guestPath) => list(vm).find((record) => guestPath === undefined || record.guestPath === guestPath),
    files: (vm, guestPath) => readManifest(join(recordDir(vm, guestPath), 'files')),
    async pending(vm, guestPath) {
      const dir = recordDir(vm, guestPath);
      return { files: await readManifest(join(dir, 'pending')), indexes: await readIndexes(join(dir, 'pending-indexes')) };
    },
    async savePending(vm, guestPath, { files, indexes }) {
      const dir = recordDir(vm, guestPath);
      await mkdir(dir, { recursive: true, mode: 0o700 });
      await writeWhole(join(dir, 'pending-indexes'), JSON.stringify(indexes));
      await writeWhole(join(dir, 'pending'), await encodeManifest(files));
    },
    async save(vm, record, { files, objectsDir }) {
      const dir = recordDir(vm, record.guestPath);
      await mkdir(dir, { recursive: true, mode: 0o700 });
      const objects = baseObjectsDir(vm, record);
      await removeTree(objects, { within: dir });
      await rename(objectsDir, objects);
      const next = [record, ...list(vm).filter(({ guestPath }) => guestPath !== record.guestPath)];
      await writeWhole(join(dir, 'files'), await encodeManifest(files));
      await writeList(vm, next);
      cache.set(vm.id, next);
      for (const name of ['pending', 'pending-indexes']) await rm(join(dir, name), { force: true });
      for (const name of await readdir(dir)) {
        if (name.startsWith('objects-') && name !== basename(objects)) await removeTree(join(dir, name), { within: dir });
      }
    },
    async drop(vm, guestPath) {
      const next = list(vm).filter((record) => record.guestPath !== guestPath);
      if (next.length === list(vm).length) return;
      await writeList(vm, next);
      cache.set(vm.id, next);
    },
    forget: (vmId) => { cache.delete(vmId); },
  };
}

function readRecords(file: string): readonly WorkspaceRecord[] {
  let content: string;
  try {
    content = readFileSync(file, 'utf8');
  } catch {
    return []; // nothing was prepared
  }
  // A file of a newer version: its workspaces are prepared anew, which checks what the guest has.
  const parsed = recordFile.safeParse(parseJson(content));
  return parsed.success ? parsed.data.workspaces : [];
}

function parseJson(content: string): unknown {
  try {
    return JSON.parse(content);
  } catch {
    return undefined;
  }
}

async function readManifest(file: string): Promise<Manifest> {
  try {
    return await decodeManifest(await readFile(file));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return new Map();
    throw error;
  }
}

async function readIndexes(file: string): Promise<Readonly<Record<string, string>>> {
  try {
    return pendingIndexes.parse(JSON.parse(await readFile(file, 'utf8')));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return {};
    throw error;
  }
}

const writeList = (vm: VmPlace, workspaces: readonly WorkspaceRecord[]): Promise<void> =>
  writeWhole(join(workspaceDir(vm), 'workspaces.json'), JSON.stringify({ version: 1, workspaces }));

async function writeWhole(file: string, content: string | Buffer): Promise<void> {
  await writeFile(`${file}.new`, content, { mode: 0o600, flush: true });
  await rename(`${file}.new`, file);
}
