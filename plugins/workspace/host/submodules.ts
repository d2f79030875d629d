// Submodules that are checked out on the host, at any depth. Others are empty directories on both sides.
import { lstat, realpath } from 'node:fs/promises';
import { join } from 'node:path';
import { isBangerError } from '../../../core/plugin-api.ts';
import type { Exec } from '../../../core/plugin-api.ts';
import { fromBytes, splitNul } from './bytes.ts';
import { escapeName } from './escape.ts';
import { createGit } from './git.ts';
import type { Git } from './git.ts';
import { requireNothingInProgress, unmerged } from './in-progress.ts';
import { readIndex } from './listing.ts';
import type { IndexEntries } from './listing.ts';
import { openRepository } from './repository.ts';
import type { Repository } from './repository.ts';
import type { Submodule } from './types.ts';

/** A repository with its index: the outermost one, or a submodule. */
export interface Part {
  /** '' or the submodule's path with a slash at the end; latin1. */
  readonly prefix: string;
  readonly repo: Repository;
  readonly git: Git;
  readonly entries: IndexEntries;
  readonly submodule?: Submodule;
}
interface Call { readonly signal?: AbortSignal | undefined; readonly notices: string[] }

/** Git itself goes deeper; a chain of submodules this long is a loop or a mistake. */
const maxDepth = 20;

/** The repository and its submodules, outer ones first. @throws workspace.in_progress, also for a submodule */
export async function collectParts(exec: Pick<Exec, 'run'>, repo: Repository, call: Call): Promise<readonly Part[]> {
  const parts: Part[] = [await readPart(exec, { repo, prefix: '' }, call)];
  // `parts` grows while it is walked.
  for (const part of parts) {
    if (part.prefix.split('/').length > maxDepth) continue;
    const names = await namesOf(part);
    const taken = new Set<string>();
    for (const path of part.entries.gitlinks) {
      const inner = await openSubmodule(exec, part, path, call);
      if (inner === undefined) continue;
      const name = [names.get(path) ?? path, path, `${path}~`].find((each) => isUsableName(each) && !taken.has(each));
      if (name === undefined) continue;
      taken.add(name);
      const submodule: Submodule = {
        path: part.prefix + path, name, gitPath: `${part.submodule?.gitPath ?? '.git'}/modules/${name}`, parent: part.prefix.slice(0, -1), repo: inner,
      };
      parts.push(await readPart(exec, { repo: inner, prefix: `${submodule.path}/`, submodule }, call));
    }
  }
  return parts;
}

async function readPart(exec: Pick<Exec, 'run'>, part: Pick<Part, 'repo' | 'prefix' | 'submodule'>, call: Call): Promise<Part> {
  await requireNothingInProgress(part.repo);
  const git = createGit(exec, part.repo.root, { signal: call.signal });
  const entries = await readIndex(git, call);
  if (entries.unmerged !== undefined) throw unmerged(part.repo, escapeName(entries.unmerged));
  return { ...part, git, entries };
}

/** Names that `.gitmodules` gives, by path. */
async function namesOf({ git, entries, repo }: Part): Promise<ReadonlyMap<string, string>> {
  const names = new Map<string, string>();
  if (entries.gitlinks.length === 0) return names;
  const file = join(repo.root, '.gitmodules');
  const { stdout } = await git.run(['config', '-f', file, '-z', '--get-regexp', '^submodule\\..*\\.path$'], { okCodes: [0, 1, 128] });
  for (const entry of splitNul(stdout)) {
    const end = entry.indexOf('\n');
    if (end > 0) names.set(entry.slice(end + 1), entry.slice('submodule.'.length, end - '.path'.length));
  }
  return names;
}

/** It becomes a directory, of which git is told as an argument, and a part of a configuration key. */
const isUsableName = (name: string): boolean =>
  fromBytes(name) !== undefined && !/^\/|\/$|\/\/|[\0\n]/.test(name) && name !== '' && !name.split('/').some((part) => part === '..' || part === '.');

async function openSubmodule(exec: Pick<Exec, 'run'>, part: Part, path: string, call: Call): Promise<Repository | undefined> {
  const shown = escapeName(part.prefix + path);
  const text = fromBytes(path);
  const root = text === undefined ? undefined : join(part.repo.root, text);
  if (root === undefined) {
    call.notices.push(`Submodule ${shown} stays empty: its path is not valid UTF-8`);
    return undefined;
  }
  // Through a link it would be another directory than the one that git means.
  if ((await realpath(root).catch(() => undefined)) !== root || !(await hasGit(root))) return undefined;
  try {
    const repo = await openRepository(exec, root, call);
    if (repo.root === root) return repo;
  } catch (error) {
    if (!isBangerError(error) || error.code !== 'bad_request') throw error;
  }
  call.notices.push(`Submodule ${shown} stays empty: its .git leads to no repository`);
  return undefined;
}

const hasGit = (root: string): Promise<boolean> => lstat(join(root, '.git')).then(() => true, () => false);
