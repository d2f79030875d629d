// Real repositories in a temporary directory, and what was staged of them put together as a guest would have it.
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { chmodSync, copyFileSync, lstatSync, lutimesSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, readlinkSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { createExec } from '../../../../core/exec.ts';
import { onDisk } from '../bytes.ts';
import { planWorkspace } from '../plan.ts';
import type { PlanOptions } from '../plan.ts';
import { stageWorkspace } from '../stage.ts';
import type { Have, Staged } from '../stage.ts';
import type { HostPlan } from '../types.ts';

const settings = {
  GIT_CONFIG_GLOBAL: '/dev/null', GIT_CONFIG_NOSYSTEM: '1', GIT_AUTHOR_NAME: 'Ada', GIT_AUTHOR_EMAIL: 'ada@example.org', GIT_AUTHOR_DATE: '1700000000 +0000',
  GIT_COMMITTER_NAME: 'Ada', GIT_COMMITTER_EMAIL: 'ada@example.org', GIT_COMMITTER_DATE: '1700000000 +0000',
  // Asking for the status must not be what changes a repository.
  GIT_OPTIONAL_LOCKS: '0',
};
export const exec = createExec();

export interface Repo {
  readonly dir: string;
  /** Output as latin1, without the last newline. */
  git(...args: readonly string[]): string;
  gitWith(options: { readonly input?: string; readonly env?: Readonly<Record<string, string>> }, ...args: readonly string[]): string;
  /** Path and content are latin1. */
  write(path: string, content: string, mode?: number): void;
  read(path: string): string;
  /** Adds all there is, and commits. */
  commit(message?: string): string;
}

export function openRepo(dir: string): Repo {
  const gitWith: Repo['gitWith'] = (options, ...args) => execFileSync('git', ['-C', dir, ...args], {
    encoding: 'latin1', maxBuffer: 1 << 28, stdio: ['pipe', 'pipe', 'pipe'], input: Buffer.from(options.input ?? '', 'latin1'),
    env: { PATH: process.env['PATH'], HOME: '/nonexistent', ...settings, ...options.env },
  }).replace(/\n$/, '');
  const git: Repo['git'] = (...args) => gitWith({}, ...args);
  return {
    dir, git, gitWith,
    write(path, content, mode) {
      mkdirSync(onDisk(dir, dirname(path)), { recursive: true });
      writeFileSync(onDisk(dir, path), Buffer.from(content, 'latin1'));
      if (mode !== undefined) chmodSync(onDisk(dir, path), mode);
    },
    read: (path) => readFileSync(onDisk(dir, path), 'latin1'),
    commit(message = 'A commit') {
      git('add', '-A');
      git('commit', '-q', '--allow-empty', '-m', message);
      return git('rev-parse', 'HEAD');
    },
  };
}

export interface World {
  readonly dir: string;
  repo(name?: string, ...initArgs: readonly string[]): Repo;
  plan(repo: Pick<Repo, 'dir'>, options?: Partial<PlanOptions>): Promise<HostPlan>;
  stage(plan: HostPlan, have?: Readonly<Record<string, Have>>): Promise<Staged & { readonly objectsDir: string }>;
  /** Lays a stage over what is there; the first time into an empty directory. */
  land(staged: Staged, guest?: string): Repo;
  /** Plans, stages and lands. */
  prepare(repo: Pick<Repo, 'dir'>, options?: Partial<PlanOptions>): Promise<{ readonly guest: Repo; readonly staged: Staged & { readonly objectsDir: string }; readonly plan: HostPlan }>;
  close(): void;
}

export function makeWorld(): World {
  // Product code under test reads these of our environment.
  const { GIT_OPTIONAL_LOCKS: _, ...ours } = settings;
  Object.assign(process.env, ours);
  const dir = mkdtempSync(join(tmpdir(), 'banger-workspace-'));
  let count = 0;
  const fresh = (what: string): string => join(dir, `${what}-${count += 1}`);
  const world: World = {
    dir,
    repo(name = fresh('repo').slice(dir.length + 1), ...initArgs) {
      const at = join(dir, name);
      execFileSync('git', ['init', '-q', '-b', 'main', ...initArgs, at], { env: { ...process.env, ...settings }, stdio: 'ignore' });
      return openRepo(at);
    },
    plan: (repo, options = {}) => planWorkspace(exec, repo.dir, { mode: 'shallow', includeUntracked: false, ...options }),
    async stage(plan, have) {
      const at = fresh('stage');
      const objectsDir = join(at, 'objects');
      return { ...await stageWorkspace(exec, { plan, dir: join(at, 'git'), objectsDir, have }), objectsDir };
    },
    land(staged, guest = fresh('guest')) {
      mkdirSync(guest, { recursive: true });
      for (const path of staged.git) copy(staged.bases[0], guest, path);
      for (const { path } of staged.files) copy(staged.bases[1], guest, path);
      return openRepo(guest);
    },
    async prepare(repo, options) {
      const plan = await world.plan(repo, options);
      const staged = await world.stage(plan);
      return { plan, staged, guest: world.land(staged) };
    },
    close: () => rmSync(dir, { recursive: true }),
  };
  return world;
}

function copy(from: string, to: string, path: string): void {
  const slash = path.lastIndexOf('/');
  if (slash > 0) mkdirSync(onDisk(to, path.slice(0, slash)), { recursive: true });
  const [source, target] = [onDisk(from, path), onDisk(to, path)];
  const stat = lstatSync(source, { bigint: true });
  if (stat.isDirectory()) {
    mkdirSync(target, { recursive: true });
    return;
  }
  const seconds = Number(stat.mtimeNs / 1000n) / 1e6;
  rmSync(target, { force: true });
  if (stat.isSymbolicLink()) symlinkSync(readlinkSync(source, 'buffer'), target);
  else copyFileSync(source, target);
  lutimesSync(target, seconds, seconds);
}

/** Every file below a directory: kind, mode, size, time and content. `except`: paths whose time may change. */
export function fingerprint(dir: string, except: RegExp = /^$/): readonly string[] {
  const lines: string[] = [];
  const visit = (below: string): void => {
    for (const name of readdirSync(onDisk(dir, below), { encoding: 'buffer' })) {
      const path = below + name.toString('latin1');
      const at = onDisk(dir, path);
      const stat = lstatSync(at, { bigint: true });
      if (stat.isDirectory()) visit(`${path}/`);
      const content = stat.isFile() ? createHash('sha256').update(readFileSync(at)).digest('hex') : stat.isSymbolicLink() ? readlinkSync(at, 'latin1') : '';
      lines.push(`${path} ${stat.mode} ${stat.isDirectory() ? '' : stat.size} ${except.test(path) ? '' : stat.mtimeNs} ${content}`);
    }
  };
  visit('');
  return lines.toSorted();
}
