// Object stores: writing into one of ours while reading the host's.
import { readFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import type { Repository } from './repository.ts';

/** Git's own limit for stores that name other stores. */
const maxDepth = 5;

/** The repository's object store and those it names, absolute. */
export async function objectStores(repo: Pick<Repository, 'commonDir'>): Promise<readonly string[]> {
  const found: string[] = [];
  const visit = async (dir: string, depth: number): Promise<void> => {
    if (found.includes(dir) || depth > maxDepth) return;
    found.push(dir);
    const text = await readFile(join(dir, 'info/alternates'), 'utf8').catch((error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT') return '';
      throw error;
    });
    for (const line of text.split('\n')) if (line !== '' && !line.startsWith('#')) await visit(resolve(dir, unquote(line)), depth + 1);
  };
  await visit(join(repo.commonDir, 'objects'), 0);
  return found;
}

/** Environment for git to write objects into `dir` and to read those of `stores` too. */
export function storeEnv(dir: string, stores: readonly string[]): Record<string, string> {
  return { GIT_OBJECT_DIRECTORY: dir, GIT_ALTERNATE_OBJECT_DIRECTORIES: stores.map(quote).join(':') };
}

/** C-style, as git reads it: a plain path could hold the colon that divides them. */
const quote = (path: string): string => `"${path.replaceAll(/["\\]/g, (char) => `\\${char}`).replaceAll('\n', '\\n')}"`;

/** Names that need no more than these escapes; others are as good as unknown. */
function unquote(line: string): string {
  if (!/^".*"$/.test(line)) return line;
  const plain: Record<string, string> = { n: '\n', t: '\t', r: '\r', a: '\u0007', b: '\b', f: '\f', v: '\v' };
  return line.slice(1, -1).replaceAll(/\\(.)/g, (_, char: string) => plain[char] ?? char);
}
