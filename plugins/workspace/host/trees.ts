// Tree objects made here. `git write-tree` would do, but it gives new times to the host's objects that it finds it need not write.
import { createHash } from 'node:crypto';
import { mkdir, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { deflateSync } from 'node:zlib';
import type { Git } from './git.ts';
import type { Repository } from './repository.ts';
import { inTurns } from './turns.ts';

/** An entry of an index; `mode` in octal, `path` latin1. */
export interface TreeEntry { readonly mode: string; readonly id: string; readonly path: string }
/** Contents of trees by id. */
export type Trees = ReadonlyMap<string, Buffer>;

interface Open { readonly name: string; readonly parts: Buffer[] }

/** The trees of entries in git's order. @returns id of the root, and all of them */
export async function makeTrees(entries: Iterable<TreeEntry>, format: Repository['objectFormat'], signal?: AbortSignal): Promise<{ readonly root: string; readonly trees: Trees }> {
  const trees = new Map<string, Buffer>();
  // From the root to the directory of the entry before.
  const open: Open[] = [{ name: '', parts: [] }];
  const add = (mode: string, name: string, id: string): void => {
    open.at(-1)!.parts.push(Buffer.from(`${mode} ${name}\0`, 'latin1'), Buffer.from(id, 'hex'));
  };
  const close = (): string => {
    const content = Buffer.concat(open.pop()!.parts);
    const id = objectId('tree', content, format);
    trees.set(id, content);
    return id;
  };
  const closeTo = (depth: number): void => {
    while (open.length > depth) {
      const { name } = open.at(-1)!;
      const id = close();
      add('40000', name, id);
    }
  };
  await inTurns(entries, ({ mode, id, path }) => {
    const dirs = path.split('/');
    const name = dirs.pop()!;
    let shared = 0;
    while (shared < dirs.length && open[shared + 1]?.name === dirs[shared]) shared += 1;
    closeTo(shared + 1);
    for (const dir of dirs.slice(shared)) open.push({ name: dir, parts: [] });
    add(mode, name, id);
  }, signal);
  closeTo(1);
  return { root: close(), trees };
}

export function objectId(type: string, content: Uint8Array, format: Repository['objectFormat']): string {
  return createHash(format).update(`${type} ${content.length}\0`).update(content).digest('hex');
}

/** Writes those trees into our object store that the repository has not. */
export async function keepTrees(git: Git, trees: Trees, objectsDir: string): Promise<void> {
  const { stdout } = await git.run(['cat-file', '--batch-check=%(objectname)'], { input: [...trees.keys()].map((id) => `${id}\n`).join('') });
  for (const line of stdout.split('\n')) {
    if (!line.endsWith(' missing')) continue;
    const id = line.slice(0, -' missing'.length);
    const content = trees.get(id);
    if (content !== undefined) await writeLoose(objectsDir, id, content);
  }
}

async function writeLoose(objectsDir: string, id: string, content: Buffer): Promise<void> {
  const file = join(objectsDir, id.slice(0, 2), id.slice(2));
  await mkdir(dirname(file), { recursive: true });
  try {
    await writeFile(file, deflateSync(Buffer.concat([Buffer.from(`tree ${content.length}\0`), content]), { level: 1 }), { mode: 0o444, flag: 'wx' });
  } catch (error) {
    // The same id is the same content.
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
  }
}
