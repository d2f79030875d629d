// From the host's working files to the result of a merge. Which filters run (programs of the host, `git lfs` and the like) is for the host's own
// attributes to say: when git writes files it goes by the `.gitattributes` that it is about to write, and those are a guest's.
//
// So the files that the host's attributes give a filter go first, into a tree that is the host's otherwise. The rest follows with all filters off.
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { isBangerError } from '../../../core/plugin-api.ts';
import { splitNul } from '../host/bytes.ts';
import { readConfig } from '../host/git-config.ts';
import { gitStderr } from '../host/git.ts';
import { treeWith } from './merge.ts';
import type { Change, Scratch } from './merge.ts';
import { wouldOverwrite } from './room.ts';

/** Whether git may read attributes at a path, on whatever file system. */
export const isAttributes = (path: string): boolean => /(?:^|\/)\.gitattributes(?:\/|$)/i.test(path);

/** Settings under which no filter of the host runs; none when it has none. They are in a file, because a filter's name may be any bytes. */
export async function filtersOff({ git, dir }: Scratch): Promise<readonly string[]> {
  const keys = (await readConfig(git)).keys(/^filter\..*\.[^.]+$/s);
  const names = new Set(keys.map((key) => key.slice('filter.'.length, key.lastIndexOf('.'))));
  if (names.size === 0) return [];
  const sections = [...names].map((name) => `[filter "${name.replaceAll(/["\\]/g, '\\$&')}"]\n\tsmudge =\n\tclean =\n\tprocess =\n\trequired = false\n`);
  const file = join(dir, 'filters-off');
  await writeFile(file, sections.join(''), 'latin1');
  return ['-c', `include.path=${file}`];
}

export interface Move {
  readonly from: string;
  readonly to: string;
  readonly changes: readonly Change[];
  /** As `filtersOff` gives them. */
  readonly off: readonly string[];
}

/** Writes the working files; looks at all of them first. @throws workspace.would_overwrite; operation_failed */
export async function moveFiles(scratch: Scratch, { from, to, changes, off }: Move): Promise<void> {
  const filtered = off.length === 0 ? [] : await withFilter(scratch, changes);
  if (filtered.length === 0) return readTree(scratch, off, [from, to]);
  if (filtered.length === changes.length) return readTree(scratch, [], [from, to]);
  const between = await treeWith(scratch, from, filtered);
  await readTree(scratch, [], ['--dry-run', from, to]);
  await readTree(scratch, [], [from, between]);
  await readTree(scratch, off, [between, to]);
}

async function withFilter({ git }: Scratch, changes: readonly Change[]): Promise<readonly Change[]> {
  const { stdout } = await git.run(['check-attr', '-z', '--stdin', 'filter'], { input: changes.map(({ path }) => `${path}\0`).join('') });
  // Path, attribute, value, in turns.
  const words = [...splitNul(stdout)];
  return changes.filter(({ path }, n) => !isAttributes(path) && !['unspecified', 'unset', 'set', undefined].includes(words[3 * n + 2]));
}

async function readTree({ git, repo }: Scratch, settings: readonly string[], words: readonly string[]): Promise<void> {
  try {
    await git.run([...settings, 'read-tree', '-m', '-u', '--no-recurse-submodules', ...words]);
  } catch (error) {
    // Changed since we looked, or hidden from us by assume-unchanged.
    const said = gitStderr(error);
    const paths = [...said.matchAll(/^error: (?:Entry|Untracked working tree file|Updating) '(.+)'/gm)].map((match) => match[1]!);
    if (!isBangerError(error) || error.code !== 'operation_failed' || paths.length === 0) throw error;
    throw wouldOverwrite(repo.root, paths, error);
  }
}
