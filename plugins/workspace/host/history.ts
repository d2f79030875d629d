// Which commits go along, and what of them the guest has from before.
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { operationFailed } from '../../../core/plugin-api.ts';
import type { Git } from './git.ts';
import type { Repository } from './repository.ts';
import type { Have } from './types.ts';

/** For `git pack-objects --revs`, and what the guest has when it has the pack. */
export interface History {
  readonly want: readonly string[];
  readonly exclude: readonly string[];
  /** Commits whose parents are not to be followed, in the guest before or after. */
  readonly cut: readonly string[];
  /** Commits that `shallow` of the guest has to name. */
  readonly shallow: readonly string[];
  readonly have: Have;
  /** Commits that the guest has in the end; undefined: all that its refs lead to. */
  readonly commits?: ReadonlySet<string>;
}

type Parents = ReadonlyMap<string, readonly string[]>;

const maxDistance = 10;
const maxCommits = 1000;
/** Trees of so many tips are told to git, so that it need not send what an index shares with them. */
const maxTrees = 8;
const none: Have = { commits: {}, shallow: [] };

/** The last commits before `head`. */
export async function shallowHistory(git: Git, repo: Repository, head: string | undefined, before: Have = none): Promise<History> {
  const hostCut = await hostShallow(repo);
  const recent = head === undefined ? new Map<string, readonly string[]>() : await lastCommits(git, head, hostCut);
  const known = new Map(Object.entries(before.commits));
  const all = new Map([...known, ...recent]);
  const parents = [...recent.keys(), ...before.shallow].flatMap((id) => all.get(id) ?? []).filter((id) => !recent.has(id));
  const inGuest = await membership(git, before, [...recent.keys(), ...parents]);
  const has = (id: string): boolean => recent.has(id) || inGuest(id);
  const isCut = (id: string): boolean => all.get(id)?.every(has) !== true;
  const shallow = [...new Set([...before.shallow, ...[...recent.keys()].filter((id) => !inGuest(id))])].filter(isCut);
  return {
    want: [...recent.keys()].filter((id) => !inGuest(id)), ...await excluded(git, before), cut: [...new Set([...before.shallow, ...shallow])], shallow,
    have: { commits: Object.fromEntries(all), shallow }, commits: new Set(all.keys()),
  };
}

/** All that `tips` (commits and tags) lead to. */
export async function wholeHistory(git: Git, repo: Repository, tips: readonly string[], before: Have = none): Promise<History> {
  const hostCut = await hostShallow(repo);
  const opened = before.shallow.filter((id) => !hostCut.has(id));
  const [openedParents, commits] = await Promise.all([readParents(git, opened), peel(git, tips)]);
  const tipParents = await readParents(git, commits);
  return {
    want: [...new Set([...tips, ...[...openedParents.values()].flat()])], ...await excluded(git, before),
    cut: before.shallow, shallow: [...hostCut].toSorted(),
    have: { commits: { ...before.commits, ...Object.fromEntries(tipParents) }, shallow: [...hostCut].toSorted() },
  };
}

/** Where the host's own history ends. */
async function hostShallow(repo: Repository): Promise<ReadonlySet<string>> {
  if (!repo.isShallow) return new Set();
  const text = await readFile(join(repo.commonDir, 'shallow'), 'latin1');
  return new Set(text.split('\n').filter((line) => /^[0-9a-f]{40,64}$/.test(line)));
}

/** Most histories are lines, or nearly: these are read at once, others level by level. */
const atOnce = 200;

async function lastCommits(git: Git, head: string, cut: ReadonlySet<string>): Promise<Parents> {
  const found = new Map<string, readonly string[]>();
  const { stdout } = await git.run(['rev-list', '--parents', `--max-count=${atOnce}`, head, '--']);
  const recent = new Map(stdout.split('\n').map((line) => line.split(' ')).map(([id = '', ...parents]) => [id, parents]));
  // Git does not name the parents of these.
  for (const id of cut) recent.delete(id);
  let level = [head];
  for (let distance = 0; distance < maxDistance && level.length > 0; distance += 1) {
    const taken = level.slice(0, maxCommits - found.size);
    const read = await readParents(git, taken.filter((id) => !recent.has(id)));
    const parents = taken.map((id) => [id, recent.get(id) ?? read.get(id) ?? []] as const);
    for (const [id, ids] of parents) found.set(id, ids);
    level = [...new Set(parents.flatMap(([id, ids]) => (cut.has(id) ? [] : ids)))].filter((id) => !found.has(id));
  }
  return found;
}

/** Parents as the commits themselves name them: git's own answers leave out those beyond the host's `shallow`. */
async function readParents(git: Git, commits: readonly string[]): Promise<Parents> {
  const found = new Map<string, readonly string[]>();
  if (commits.length === 0) return found;
  const { stdout } = await git.run(['cat-file', '--batch'], { input: commits.map((id) => `${id}\n`).join('') });
  for (let at = 0; at < stdout.length;) {
    const end = stdout.indexOf('\n', at);
    const [id = '', type, size] = stdout.slice(at, end).split(' ');
    if (type !== 'commit') throw operationFailed(`Commit ${id} is missing in the repository`, { hint: 'git fsck tells what else is' });
    const body = stdout.slice(end + 1, end + 1 + Number(size));
    const header = body.slice(0, body.indexOf('\n\n') + 1);
    found.set(id, [...header.matchAll(/^parent ([0-9a-f]+)$/gm)].map((match) => match[1]!));
    at = end + 1 + Number(size) + 1;
  }
  return found;
}

/** Commits that tags and commits stand for; what stands for something else is left out. */
async function peel(git: Git, objects: readonly string[]): Promise<readonly string[]> {
  if (objects.length === 0) return [];
  const { stdout } = await git.run(['cat-file', '--batch-check=%(objectname) %(objecttype)'], { input: objects.map((id) => `${id}^{}\n`).join('') });
  return [...new Set(stdout.split('\n').filter((line) => line.endsWith(' commit')).map((line) => line.slice(0, -' commit'.length)))];
}

/** Of the guest's commits those that the host has, too: the ones that no other of them leads to. */
async function tipsOf(git: Git, before: Have): Promise<readonly string[]> {
  const there = new Set(await peel(git, Object.keys(before.commits)));
  const inner = new Set([...there].flatMap((id) => before.commits[id] ?? []));
  return [...there].filter((id) => !inner.has(id));
}

async function excluded(git: Git, before: Have): Promise<Pick<History, 'exclude'>> {
  const tips = await tipsOf(git, before);
  return { exclude: [...tips, ...tips.slice(-maxTrees).map((id) => `${id}^{tree}`)] };
}

/** Whether the guest has a commit. `asked`: the commits that will be asked for. */
async function membership(git: Git, before: Have, asked: readonly string[]): Promise<(id: string) => boolean> {
  const isKnown = (id: string): boolean => Object.hasOwn(before.commits, id);
  const cut = new Set(before.shallow);
  const isWhole = Object.entries(before.commits).every(([id, parents]) => cut.has(id) || parents.every(isKnown));
  const unsure = asked.filter((id) => !isKnown(id));
  if (isWhole || unsure.length === 0) return isKnown;
  // Only tips are listed: git tells what they lead to.
  const there = await peel(git, unsure);
  const tips = await tipsOf(git, before);
  const { stdout } = await git.run(['rev-list', '--stdin'], { input: [...there, ...tips.map((id) => `^${id}`)].map((line) => `${line}\n`).join('') });
  const outside = new Set([...stdout.split('\n'), ...unsure.filter((id) => !there.includes(id))]);
  return (id) => isKnown(id) || !outside.has(id);
}
