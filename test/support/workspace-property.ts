// One case of the workspace property test: a random repository goes in, both sides are edited, and the work comes back.
import { join } from 'node:path';
import { expect } from 'vitest';
import { random as seeded } from '../../native/copy/testing.ts';
import type { WorkspaceMode, WorkspacePullResult } from '../../core/api.ts';
import type { Host } from './host.ts';
import { makeRandomRepo, randomEditScript, randomEdits, type Random } from './random-repo.ts';
import { git, parseSnapshot, snapshot, snapshotScript, untouchedState, type Snapshot } from './repo-snapshot.ts';

type Files = ReadonlyMap<string, string>;
interface Options { readonly mode: WorkspaceMode; readonly includeUntracked: boolean; readonly branch?: string }

/** What the host sends: nothing of what it does not track, unless told. */
function sent(host: Snapshot, options: Options): Files {
  if (options.mode === 'metadata') return new Map();
  if (!options.includeUntracked) return host.trackedFiles;
  const untracked = new Set(host.untracked);
  return new Map([...host.allFiles].filter(([path]) => untracked.has(path) || host.trackedFiles.has(path)));
}
const sorted = (files: Files): [string, string][] => [...files].toSorted(([a], [b]) => (a < b ? -1 : 1));
/** Whether one of two paths is a directory of the other. */
const inTheWay = (a: string, b: string): boolean => a.startsWith(`${b}/`) || b.startsWith(`${a}/`);

export interface Prepare extends Options { readonly path: string; readonly guestPath: string; readonly force: boolean }
/** A guest, and the daemon's verbs for it. */
export interface Sides {
  /** Where repositories of the host may be made. */
  readonly dir: string;
  readonly vm: string;
  /** Where the guest's go. */
  readonly guestDir: string;
  /** `sh -s` in the guest. @returns stdout */
  run(script: Buffer): Promise<Buffer>;
  /** @returns what a refusal to overwrite says; undefined when it was done. @throws for any other failure */
  prepare(how: Prepare): Promise<string | undefined>;
  pull(): Promise<WorkspacePullResult>;
}

/** A real guest and the command line. */
export function throughCli(host: Host, vm: string): Sides {
  return {
    dir: host.dir, vm, guestDir: '/root',
    run: async (script) => (await host.ok(['vm', 'exec', '--quiet', '--guest-path', '/', vm, '--', 'sh', '-s'], { input: script })).stdout,
    async prepare({ path, guestPath, mode, includeUntracked, branch, force }) {
      const flags = [...(includeUntracked ? ['--include-untracked'] : []), ...(branch === undefined ? [] : ['--branch', branch]), ...(force ? ['--force'] : [])];
      const { code, err } = await host.banger(['vm', 'workspace', 'prepare', vm, path, '--guest-path', guestPath, '--mode', mode, ...flags]);
      if (code === 0) return undefined;
      if (code !== 1 || !err.includes('would be overwritten')) throw new Error(`prepare exited ${code}: ${err}`);
      return err;
    },
    pull: async () => JSON.parse((await host.ok(['vm', 'workspace', 'pull', vm, '--json'])).out) as WorkspacePullResult,
  };
}

export class WorkspaceCase {
  readonly #sides: Sides;
  readonly #repo: string;
  readonly #guestPath: string;
  readonly #random: Random;
  readonly #options: Options;

  constructor(sides: Sides, seed: number) {
    this.#sides = sides;
    this.#repo = join(sides.dir, `repo${seed}`);
    this.#guestPath = join(sides.guestDir, `repo${seed}`);
    this.#random = seeded(seed * 7919);
    makeRandomRepo(this.#repo, seed);
    const kind = this.#random(12);
    this.#options = {
      mode: kind === 0 ? 'metadata' : kind < 4 ? 'full_copy' : 'shallow', includeUntracked: this.#random(3) === 0, ...(this.#random(5) === 0 ? { branch: 'guest/only' } : {}),
    };
  }

  /** For the report of a failure. */
  get told(): string {
    return `${this.#repo} ${JSON.stringify(this.#options)}`;
  }

  async run(): Promise<void> {
    const first = await this.#firstPrepare();
    // Both sides at once.
    const script = randomEditScript(this.#random, this.#guestPath, { stage: true, commit: this.#random(2) === 0, paths: [...first.allFiles.keys()] });
    const inGuest = this.#guest(script);
    randomEdits(this.#repo, this.#random, { stage: true, commit: this.#random(2) === 0 });
    const edited = await inGuest;
    const way = this.#random(3);
    if (way === 0) {
      await this.#pull(edited);
      // The guest's is as it was, too.
      expect(await this.#guest()).toEqual(edited);
    } else if (way === 1) {
      await this.#pull(await this.#secondPrepare(first, edited));
    } else {
      await this.#pull(edited);
      await this.#pull(await this.#prepareAfterPull(first, edited));
    }
  }

  /** After these edits, in one go. */
  async #guest(edits?: Buffer): Promise<Snapshot> {
    const script = Buffer.from(snapshotScript(this.#guestPath), 'latin1');
    return parseSnapshot(await this.#sides.run(edits === undefined ? script : Buffer.concat([Buffer.from('(\n'), edits, Buffer.from(') >/dev/null || exit\n'), script])));
  }
  #prepare(force = false): Promise<string | undefined> {
    return this.#sides.prepare({ ...this.#options, path: this.#repo, guestPath: this.#guestPath, force });
  }

  /** The guest's repository is the host's, as git sees it; the host's is as it was. */
  async #firstPrepare(): Promise<Snapshot> {
    const before = untouchedState(this.#repo);
    const host = await snapshot(this.#repo);
    expect(await this.#prepare()).toBeUndefined();
    expect(untouchedState(this.#repo)).toEqual(before);
    const guest = await this.#guest();
    this.#expectHead(guest, host);
    expect(sorted(guest.allFiles)).toEqual(sorted(sent(host, this.#options)));
    if (this.#options.mode !== 'metadata') expect(guest.status).toEqual(host.status);
    expect(guest.untracked.filter((path) => !host.untracked.includes(path))).toEqual([]);
    return guest;
  }
  #expectHead(guest: Snapshot, host: Snapshot): void {
    const { branch } = this.#options;
    expect({ head: guest.head, ref: guest.ref, index: guest.index }).toEqual({ head: host.head, ref: branch === undefined ? host.ref : `refs/heads/${branch}`, index: host.index });
  }

  /** Nothing of the guest's is lost without a word; with one, the host's edits go over it. */
  async #secondPrepare(first: Snapshot, edited: Snapshot): Promise<Snapshot> {
    const host = await snapshot(this.#repo);
    const refusal = await this.#prepare();
    if (refusal === undefined) {
      expect([edited.head, edited.index]).toEqual([first.head, first.index]);
      const after = await this.#expectMerged(first, edited, host);
      for (const [path, blob] of edited.allFiles) if (blob !== first.allFiles.get(path)) expect([path, after.allFiles.get(path)]).toEqual([path, blob]);
      return after;
    }
    expect(await this.#guest(), refusal).toEqual(edited);
    expect(await this.#prepare(true)).toBeUndefined();
    return this.#expectMerged(first, edited, host);
  }

  /** All of it is kept in the host's repository, but for what is ignored: a pull takes nothing of that. And a whole directory is not given up for a file. */
  async #prepareAfterPull(first: Snapshot, edited: Snapshot): Promise<Snapshot> {
    const host = await snapshot(this.#repo);
    const refusal = await this.#prepare();
    if (refusal === undefined) return this.#expectMerged(first, edited, host);
    const isKept = (path: string): boolean => edited.trackedFiles.has(path) || edited.untracked.includes(path);
    const given = [...sent(host, this.#options).keys()];
    const reasons = [...edited.allFiles.keys()].filter((path) => !isKept(path) || given.some((other) => path.startsWith(`${other}/`)));
    expect(reasons, refusal).not.toEqual([]);
    return edited;
  }

  /** HEAD and index are the host's; so is each file that the host changed. The guest's others are as it left them. */
  async #expectMerged(first: Snapshot, edited: Snapshot, host: Snapshot): Promise<Snapshot> {
    const after = await this.#guest();
    this.#expectHead(after, host);
    const now = sent(host, this.#options);
    const given = [...now.keys()];
    for (const [path, blob] of now) {
      const allowed = blob === first.allFiles.get(path) ? [blob, edited.allFiles.get(path)] : [blob];
      expect([path, allowed], `${path} is ${after.allFiles.get(path)}`).toEqual([path, expect.arrayContaining([after.allFiles.get(path)])]);
    }
    for (const path of first.allFiles.keys()) if (!now.has(path)) expect([path, after.allFiles.get(path)]).toEqual([path, undefined]);
    for (const [path, blob] of edited.allFiles) {
      if (now.has(path) || first.allFiles.has(path) || given.some((other) => inTheWay(path, other))) continue;
      expect([path, after.allFiles.get(path)]).toEqual([path, blob]);
    }
    return after;
  }

  /** The host has the guest's work in refs of ours, exactly; nothing else of the host is touched. */
  async #pull(guest: Snapshot): Promise<void> {
    const before = untouchedState(this.#repo);
    const kept = git(this.#repo, 'for-each-ref', '--format=%(refname)', 'refs/banger').split('\n').filter((ref) => ref !== '');
    const { refs, operation } = await this.#sides.pull();
    expect(untouchedState(this.#repo)).toEqual(before);
    const tree = (ref: string | undefined): string => git(this.#repo, 'rev-parse', '--verify', `${ref}^{tree}`);
    expect([tree(refs.worktree), tree(refs.index)]).toEqual([guest.worktree, guest.index]);
    expect(refs.head === undefined ? '' : git(this.#repo, 'rev-parse', refs.head)).toBe(guest.head);
    const parent = guest.head === '' ? [] : [guest.head];
    for (const ref of [refs.index, refs.worktree]) expect(git(this.#repo, 'rev-list', '--parents', '-1', ref!).split(' ').slice(1)).toEqual(parent);
    const made = git(this.#repo, 'for-each-ref', '--format=%(refname)', 'refs/banger').split('\n').filter((ref) => !kept.includes(ref));
    expect(made).toEqual(Object.values(refs).toSorted());
    for (const ref of made) expect(ref).toMatch(new RegExp(`^refs/banger/${this.#sides.vm}/${operation}/(base|head|index|worktree)$`));
    git(this.#repo, 'fsck', '--full', '--strict');
  }
}
