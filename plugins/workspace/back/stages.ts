// A conflict needs the host's index: its lock is taken, and the new index made, before a file moves; it takes the place of the old one afterwards.
import { open, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { BangerError } from '../../../core/plugin-api.ts';
import type { Git } from '../host/git.ts';
import type { Repository } from '../host/repository.ts';
import { durableArgs } from './limits.ts';
import { copyIndex } from './merge.ts';
import type { Scratch, Stage } from './merge.ts';
import { publishPacks } from './quarantine.ts';

export interface LockedIndex {
  /** Puts the new index in the place of the old one. */
  commit(): Promise<void>;
  /** Gives up the lock, where it has not become the index. */
  release(): Promise<void>;
}

export const indexBusy = (repo: Pick<Repository, 'root' | 'gitDir'>): BangerError =>
  new BangerError('busy', `The index of ${repo.root} is locked by another git`, { hint: `when no git is running, remove ${join(repo.gitDir, 'index.lock')}` });

/**
 * Without stages the index is let be: nothing is locked.
 * @param git with the repository's own objects
 * @throws busy: another git has the index; operation_failed
 */
export async function lockIndex(scratch: Scratch, git: Git, { stages, off }: { readonly stages: readonly Stage[]; readonly off: readonly string[] }): Promise<LockedIndex> {
  if (stages.length === 0) return { commit: async () => {}, release: async () => {} };
  const { gitDir } = scratch.repo;
  const lock = join(gitDir, 'index.lock');
  await takeLock(scratch.repo, lock);
  let isOurs = true;
  const release = async (): Promise<void> => {
    if (isOurs) await rm(lock, { force: true });
    isOurs = false;
  };
  try {
    await keepStages(scratch, git, stages);
    const made = join(scratch.dir, 'stages-index');
    await copyIndex(join(gitDir, 'index'), made);
    await setStages(git, stages, { off, index: made });
    await copyIndex(made, lock);
  } catch (error) {
    await release();
    throw error;
  }
  return {
    async commit() {
      await rename(lock, join(gitDir, 'index'));
      isOurs = false;
    },
    release,
  };
}

async function takeLock(repo: Repository, lock: string): Promise<void> {
  try {
    await (await open(lock, 'wx')).close();
  } catch (error) {
    throw (error as NodeJS.ErrnoException).code === 'EEXIST' ? indexBusy(repo) : error;
  }
}

/** Versions of the host that are nowhere but in its working files are needed by the index from now on. */
async function keepStages(scratch: Scratch, git: Git, stages: readonly Stage[]): Promise<void> {
  const ids = [...new Set(stages.map(({ id }) => id))];
  const { stdout } = await git.run(['cat-file', '--batch-check'], { input: ids.map((id) => `${id}\n`).join('') });
  const missing = stdout.split('\n').flatMap((line) => /^(\S+) missing$/.exec(line)?.[1] ?? []);
  if (missing.length === 0) return;
  await scratch.git.run([...durableArgs, 'pack-objects', '--quiet', join(scratch.dir, 'out/pack')], { input: missing.map((id) => `${id}\n`).join('') });
  await publishPacks(scratch, scratch.repo);
}

/** Git looks at files of the index's own second when it writes it: with filters off, as everywhere. */
async function setStages(git: Git, stages: readonly Stage[], { off, index }: { readonly off: readonly string[]; readonly index: string }): Promise<void> {
  const none = stages[0]!.id.replaceAll(/./g, '0');
  const paths = [...new Set(stages.map(({ path }) => path))];
  const lines = [...paths.map((path) => `0 ${none}\t${path}`), ...stages.map(({ mode, id, stage, path }) => `${mode} ${id} ${stage}\t${path}`)];
  await git.run([...off, 'update-index', '-z', '--index-info'], { env: { GIT_INDEX_FILE: index }, input: lines.map((line) => `${line}\0`).join('') });
}
