// A host's repository, and a directory that plays the guest: what the scripts in a guest do is done here with the same git.
import { execFileSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, mkdtempSync, rmSync, statSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createExec } from '../../../../core/exec.ts';
import { gitEnvironment } from '../../../../test/support/repo-script.ts';
import { git } from '../../../../test/support/repo-snapshot.ts';
import { openRepository } from '../../host/repository.ts';
import type { Repository } from '../../host/repository.ts';
import type { GuestWork } from '../import.ts';

export const exec = createExec();
export const never = new AbortController().signal;

/** Runs git in a directory, as `git` of the snapshots does, with more to say. @returns stdout as latin1, whole */
export function run(dir: string, args: readonly string[], options: { readonly input?: string | Buffer; readonly env?: Readonly<Record<string, string>> } = {}): string {
  const input = typeof options.input === 'string' ? Buffer.from(options.input, 'latin1') : options.input;
  return execFileSync('git', ['-C', dir, ...args], {
    env: { ...gitEnvironment(), ...options.env }, encoding: 'latin1', maxBuffer: 2 ** 28, stdio: ['pipe', 'pipe', 'pipe'], ...(input === undefined ? {} : { input }),
  });
}

export interface World {
  readonly dir: string;
  readonly host: string;
  readonly guest: string;
  repo(): Promise<Repository>;
  /** What went in. */
  readonly base: GuestWork['base'];
  put(where: 'host' | 'guest', path: string, content: string): void;
  commit(where: 'host' | 'guest', message: string): string;
  /** The guest's state as a pull collects it. */
  work(operation?: string, change?: Partial<GuestWork>): GuestWork;
  remove(): void;
}

export interface WorldOptions {
  /** Makes the host's repository in a directory that exists. @default a commit with a few files */
  readonly make?: (host: string) => void;
  /** Where the guest's repository is a clone with a history of this depth, in place of a copy. */
  readonly depth?: number;
}

export function makeWorld(options: WorldOptions = {}): World {
  const dir = mkdtempSync(join(tmpdir(), 'banger-back-'));
  const host = join(dir, 'host');
  const guest = join(dir, 'guest');
  mkdirSync(host);
  (options.make ?? makeSmall)(host);
  if (options.depth === undefined) cpSync(host, guest, { recursive: true, verbatimSymlinks: true, preserveTimestamps: true });
  else git(dir, 'clone', '-q', `--depth=${options.depth}`, `file://${host}`, guest);
  const base = baseOf(dir, host);
  let packs = 0;
  return {
    dir, host, guest, base,
    repo: () => openRepository(exec, host),
    put(where, path, content) {
      const file = join(where === 'host' ? host : guest, path);
      mkdirSync(join(file, '..'), { recursive: true });
      writeFileSync(file, content, 'latin1');
    },
    commit(where, message) {
      const at = where === 'host' ? host : guest;
      git(at, 'add', '-A');
      git(at, 'commit', '-q', '--allow-empty', '-m', message);
      return git(at, 'rev-parse', 'HEAD');
    },
    work(operation = 'op-aaaaaaaa', change = {}) {
      packs += 1;
      return { ...collect(guest, { base, operation, packFile: join(dir, `work-${packs}.pack`) }), ...change };
    },
    remove: () => rmSync(dir, { recursive: true, force: true }),
  };
}

export function makeSmall(host: string): void {
  git(host, 'init', '-q', '-b', 'main');
  for (const [path, content] of [['a', 'one\ntwo\nthree\n'], ['b', 'b\n'], ['.gitignore', '*.log\n']] as const) writeFileSync(join(host, path), content);
  mkdirSync(join(host, 'd'));
  writeFileSync(join(host, 'd/e'), 'e\n');
  git(host, 'add', '-A');
  git(host, 'commit', '-q', '-m', 'first');
}

/** As the host's part of a prepare makes it: the tracked files as they are, their objects in a directory of ours. */
function baseOf(dir: string, host: string): GuestWork['base'] {
  const objectsDir = join(dir, 'base-objects');
  mkdirSync(objectsDir);
  const gitDir = git(host, 'rev-parse', '--absolute-git-dir');
  const common = git(host, 'rev-parse', '--path-format=absolute', '--git-common-dir');
  const env = { GIT_INDEX_FILE: join(dir, 'base-index'), GIT_OBJECT_DIRECTORY: objectsDir, GIT_ALTERNATE_OBJECT_DIRECTORIES: join(common, 'objects') };
  copyIndex(gitDir, env.GIT_INDEX_FILE);
  run(host, ['add', '-u'], { env });
  const tree = run(host, ['write-tree'], { env }).trim();
  const commit = headOf(host);
  return { tree, objectsDir, ...(commit === undefined ? {} : { commit }) };
}

/** Not newer than it is, or git takes for clean what changed in the second it was written in. */
function copyIndex(gitDir: string, to: string): void {
  const index = join(gitDir, 'index');
  if (!existsSync(index)) return;
  cpSync(index, to);
  const seconds = Math.floor(statSync(index).mtimeMs / 1000);
  utimesSync(to, seconds, seconds);
}

function headOf(dir: string): string | undefined {
  try {
    return git(dir, 'rev-parse', '-q', '--verify', 'HEAD');
  } catch {
    // Unborn.
    return undefined;
  }
}

export function collect(guest: string, to: { readonly base: GuestWork['base']; readonly operation: string; readonly packFile: string }): GuestWork {
  const head = headOf(guest);
  const gitDir = git(guest, 'rev-parse', '--absolute-git-dir');
  const env = { GIT_INDEX_FILE: join(gitDir, 'banger-index') };
  copyIndex(gitDir, env.GIT_INDEX_FILE);
  const indexTree = run(guest, ['write-tree'], { env }).trim();
  run(guest, ['add', '-A'], { env });
  const worktreeTree = run(guest, ['write-tree'], { env }).trim();
  rmSync(env.GIT_INDEX_FILE, { force: true });
  writePack(guest, [...(head === undefined ? [] : [head]), indexTree, worktreeTree, ...(to.base.commit === undefined ? [] : [`^${to.base.commit}`, `^${to.base.commit}^{tree}`])], to.packFile);
  return { vm: 'devbox', operation: to.operation, packFile: to.packFile, indexTree, worktreeTree, base: to.base, maxBytes: 2 ** 26, ...(head === undefined ? {} : { head }) };
}

export function writePack(guest: string, revisions: readonly string[], file: string): void {
  writeFileSync(file, Buffer.from(run(guest, ['pack-objects', '--revs', '--stdout', '-q', '--window=0', '--no-reuse-delta'], { input: revisions.map((line) => `${line}\n`).join('') }), 'latin1'));
}

/** Every file below `.git`, but for those that git may write while it looks. */
export function gitFiles(host: string): string[] {
  const common = git(host, 'rev-parse', '--path-format=absolute', '--git-common-dir');
  return execFileSync('find', [common, '-printf', '%P %y %s\n'], { encoding: 'latin1' }).split('\n').filter((line) => line !== '').toSorted();
}

/** What git finds wrong with a repository; objects that nothing names are fine. */
export function fsck(host: string): string {
  return git(host, 'fsck', '--no-dangling', '--no-progress', '--full', '--strict');
}

export const bangerRefs = (host: string): string[] => git(host, 'for-each-ref', '--format=%(refname)', 'refs/banger/').split('\n').filter((name) => name !== '');
