// From the host's working files to the result of a merge. Which filters run (programs of the host, `git lfs` and the like) is for the host's own
// attributes to say: when git writes files it goes by the `.gitattributes` that it is about to write, and those are a guest's.
//
// So the files that the host's attributes give a filter go first, into a tree that is the host's otherwise. The rest follows with all filters off.
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { isBangerError } from '../../../core/plugin-api.ts';
import { splitNul } from '../host/bytes.ts';
import { readConfig } from '../host/git-config.ts';
import { gitStderr } from '../host/git.ts';
import { treeWith } from './merge.ts';
import type { Change, Scratch } from './merge.ts';
import { rehearsed } from './put-back.ts';
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
  /** Those of the changes that the host's own attributes give a filter. */
  readonly filtered: readonly Change[];
  /** A tree that is the host's otherwise. */
  readonly between: string;
}
/** What there is to do. */
export type Plan = Omit<Move, 'filtered' | 'between'>;

/**
 * Looks at all of the working files, and writes the new ones into the scratch directory: a filter that fails, or a full disk, does so before a file is touched.
 * @throws workspace.would_overwrite; operation_failed
 */
export async function rehearse(scratch: Scratch, move: Plan): Promise<Move> {
  const { git, dir, repo } = scratch;
  const filtered = move.off.length === 0 ? [] : await withFilter(scratch, move.changes);
  await readTree(scratch, [], ['--dry-run', move.from, move.to]);
  const after = rehearsed(scratch);
  await mkdir(after, { mode: 0o700 });
  const index = { GIT_INDEX_FILE: join(dir, 'after-index') };
  const input = (changes: readonly Change[]): string => changes.filter(({ mode }) => mode !== '000000').map(({ path }) => `${path}\0`).join('');
  // In the host's working tree: its attributes are there, and its filters are used to run there.
  const between = filtered.length === 0 ? move.from : await treeWith(scratch, move.from, filtered);
  if (filtered.length > 0) {
    await git.run(['read-tree', between], { env: index });
    await git.run(['checkout-index', '-z', '--stdin', `--prefix=${after}/`], { env: index, input: input(filtered) });
  }
  // As if there were no files: the attributes are those of the result.
  await git.run(['read-tree', move.to], { env: index });
  const apart = { ...index, GIT_DIR: repo.gitDir, GIT_WORK_TREE: after };
  const rest = move.changes.filter((change) => !filtered.includes(change));
  await git.run([...move.off, 'checkout-index', '-z', '--stdin'], { cwd: after, env: apart, input: input(rest) });
  return { ...move, filtered, between };
}

/** Writes the working files; looks at all of them first. @throws workspace.would_overwrite; operation_failed */
export async function moveFiles(scratch: Scratch, { from, to, between, changes, off, filtered }: Move): Promise<void> {
  if (filtered.length === 0) return readTree(scratch, off, [from, to]);
  if (filtered.length === changes.length) return readTree(scratch, [], [from, to]);
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
