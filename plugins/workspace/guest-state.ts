// What the guest has where a workspace goes: whether it may be written over, and what of it would be lost.
import { BangerError } from '../../core/plugin-api.ts';
import { isAsSent } from './changes.ts';
import type { Manifest, ManifestEntry } from './manifest.ts';
import { checkTree } from './guest/tree.ts';
import type { Differing, Expected } from './guest/tree.ts';
import { blobsScript, stateScript } from './guest/scripts.ts';
import { runScript, scriptCode } from './guest/script.ts';
import type { GuestTarget } from './guest/script.ts';
import type { Stamp, WorkspaceRecord } from './schema.ts';
import { toBytes } from './host/bytes.ts';
import { escapeName } from './host/escape.ts';

export interface GuestGit {
  readonly head?: string;
  readonly branch?: string;
  readonly indexDigest: string;
  readonly indexTree?: string;
  /** Branches and the stash by full name. */
  readonly refs: ReadonlyMap<string, string>;
}
/** Whether work of this VM is already safe in the host's repository. */
export interface Kept {
  head(commit: string): Promise<boolean>;
  path(path: string, blobId: string): Promise<boolean>;
  index(treeId: string): Promise<boolean>;
}
export interface GuestPlace extends GuestTarget { readonly guestPath: string; readonly opId: string; readonly limitMs: number }

const fromStamp = ({ path, kind, mode, size, mtimeNs }: Stamp): Expected => ({ path, kind, mode, size, mtimeNs: BigInt(mtimeNs) });

/** The link that leads to the last workspace gives way to a repository of that name. */
export const linkPlace = '/root/repo';
const isOurLink = (place: GuestPlace, there: Differing): boolean => place.guestPath === linkPlace && there.kind === 'link';

/** `absent`: nothing is at the path; `other`: something that no prepare put there. */
export async function findCheckout(place: GuestPlace, record: WorkspaceRecord | undefined): Promise<'absent' | 'ours' | 'other'> {
  const slash = place.guestPath.lastIndexOf('/');
  const [parent, name] = [place.guestPath.slice(0, slash) || '/', place.guestPath.slice(slash + 1)];
  const [there] = await checkTree(place, parent, [{ path: toBytes(name), kind: 'none', mode: 0, size: 0, mtimeNs: 0n }]);
  if (there === undefined || isOurLink(place, there)) return 'absent';
  if (record === undefined || there.kind !== 'dir') return 'other';
  const [noHead] = await checkTree(place, place.guestPath, [{ path: '.git/HEAD', kind: 'none', mode: 0, size: 0, mtimeNs: 0n }]);
  return noHead?.kind === 'file' ? 'ours' : 'other';
}

/**
 * What a place without a record would lose, which a prepare that did not come to its end may have filled: files that are neither what it was about to
 * send nor what is sent now, and commits of the guest.
 */
export async function findStrangers(place: GuestPlace, input: {
  readonly pending: Manifest; readonly now: ReadonlyMap<string, ManifestEntry>; readonly head: string | undefined; readonly kept: Kept;
}): Promise<readonly string[]> {
  const { pending, now, head, kept } = input;
  const expected = [...new Set([...pending.keys(), ...now.keys()])].map((path) => expectedOf(path, pending.get(path)));
  const lost = (await checkTree(place, place.guestPath, expected))
    .filter((actual) => actual.kind !== 'none' && !isAsSent(actual, now.get(actual.path))).map(({ path }) => path);
  const git = await readGuestGit(place);
  if (git?.head !== undefined && git.head !== head && !await kept.head(git.head)) lost.unshift('.git/HEAD');
  return lost;
}

/** Some thousand branches. */
const maxStateBytes = 1024 * 1024;

/** Undefined: the guest has no git, or what is there is no repository to it. */
export async function readGuestGit(place: GuestPlace): Promise<GuestGit | undefined> {
  const result = await runScript(place, { script: stateScript, args: [place.guestPath, place.opId], idleLimitMs: place.limitMs, maxStdoutBytes: maxStateBytes });
  if (result.code !== 0 && result.code !== scriptCode.noGit && result.stdout.length === 0) return undefined;
  const lines = result.stdout.toString('latin1').split('\n');
  const refs = new Map(lines.flatMap((line) => {
    const match = /^ref ([0-9a-f]+) (refs\/.+)$/.exec(line);
    return match === null ? [] : [[match[2]!, match[1]!] as const];
  }));
  const said = new Map(lines.map((line) => [line.slice(0, line.indexOf(' ')), line.slice(line.indexOf(' ') + 1)]));
  const id = (key: string): string | undefined => (/^[0-9a-f]{40}([0-9a-f]{24})?$/.test(said.get(key) ?? '') ? said.get(key) : undefined);
  const [head, indexDigest, indexTree, branch] = [id('head'), id('index'), id('tree'), said.get('branch')];
  if (indexDigest === undefined) return undefined;
  return { indexDigest, refs, ...(head === undefined ? {} : { head }), ...(indexTree === undefined ? {} : { indexTree }), ...(branch ? { branch } : {}) };
}

export interface LossInput {
  readonly record: WorkspaceRecord;
  readonly before: Manifest;
  readonly pending: Manifest;
  readonly now: ReadonlyMap<string, ManifestEntry>;
  /** Paths that will be written or removed. */
  readonly touched: readonly string[];
  readonly kept: Kept;
  /** Full names of the branches that will be written. */
  readonly branches: readonly string[];
  /** Of the index that is about to be sent: an earlier try may have brought it. */
  readonly indexDigest: string;
  /** All of it goes (`--clean`): whatever has a name there counts. */
  readonly wipes: boolean;
}
export interface Losses {
  /** What would be lost and is not kept elsewhere: paths, `HEAD`, `.git/index`. */
  readonly lost: readonly string[];
  /** Of the touched paths, those that are not as they were sent. */
  readonly differing: readonly Differing[];
  /** Directories where a file or link goes, that held files which go away: they are to be empty then. */
  readonly emptied: readonly string[];
  /** Files and links of the guest where a directory has to be. */
  readonly inTheWay: readonly string[];
  /** Of the paths to remove, those where the guest has no file any more: a directory of its own stays. */
  readonly untouched: ReadonlySet<string>;
  /** HEAD of the guest, when it is not the one that was sent. */
  readonly movedHead?: string;
}

/** Looks at the paths that would be touched, HEAD and index, and at no other file of the guest. */
export async function findLosses(place: GuestPlace, input: LossInput): Promise<Losses> {
  const { record, before, pending, now, touched, kept } = input;
  const expected = touched.map((path) => expectedOf(path, before.get(path)));
  // Where a directory has to be for them; what was a file before is touched itself.
  const parents = new Set([...directoriesOf(touched.filter((path) => now.has(path)))].filter((path) => !before.has(path)));
  const directories = [...parents].map((path) => ({ path, kind: 'dir' as const, mode: 0, size: 0, mtimeNs: 0n }));
  const answers = await checkTree(place, place.guestPath, [...record.control.map(fromStamp), fromStamp(record.index), ...expected, ...directories]);
  const controlPaths = new Set([...record.control.map(({ path }) => path), record.index.path]);
  const found = answers.filter(({ path }) => !controlPaths.has(path));
  const inTheWay = found.filter(({ path, kind }) => parents.has(path) && (kind === 'file' || kind === 'link')).map(({ path }) => path);
  const untouched = new Set(found.filter(({ path, kind }) => !now.has(path) && !parents.has(path) && kind !== 'file' && kind !== 'link').map(({ path }) => path));
  // A link that was sent and goes away is judged by itself; what is below its path is not there yet.
  const leaving = new Set([...inTheWay, ...touched.filter((path) => before.has(path) && !now.has(path))]);
  const unlike = found.filter((actual) => !isAsSent(actual, pending.get(actual.path)) && !isAsSent(actual, now.get(actual.path))
    && !untouched.has(actual.path) && !(actual.kind === 'other' && isBelow(actual.path, leaving)));
  const above = directoriesOf(before.keys());
  const isEmptied = ({ path, kind }: Differing): boolean => kind === 'dir' && above.has(path);
  const emptied = unlike.filter(isEmptied).map(({ path }) => path);
  const differing = unlike.filter((actual) => !isEmptied(actual));
  // What the guest deleted holds nothing that could be lost.
  const edited = differing.filter(({ kind }) => kind !== 'none');
  const suspects = answers.filter(({ path }) => controlPaths.has(path));
  const room = { differing, emptied, inTheWay, untouched };
  // Refs of branches are not looked at as files: the guest's housekeeping may have packed them.
  const otherBranches = input.branches.filter((name) => name !== `refs/heads/${record.branch ?? ''}`);
  if (edited.length === 0 && suspects.length === 0 && otherBranches.length === 0 && !input.wipes) return { ...room, lost: [] };
  const git = await readGuestGit(place);
  const lost = [...await lostFiles(place, { edited, kept, hasGit: git !== undefined })];
  if (git === undefined) return { ...room, lost: [...suspects.map(({ path }) => path), ...lost] };
  lost.unshift(...await lostHistory(place, { ...input, git, suspects }));
  const moved = git.head !== record.head || git.branch !== record.branch;
  return { ...room, lost, ...(moved && git.head !== undefined ? { movedHead: git.head } : {}) };
}

/** Commits and staged changes that nothing but the guest has, and that would lose their name. */
async function lostHistory(place: GuestPlace, { git, record, kept, branches, suspects, wipes, indexDigest }: LossInput & { readonly git: GuestGit; readonly suspects: readonly Differing[] }): Promise<string[]> {
  const isSafe = async (commit: string): Promise<boolean> => Object.hasOwn(record.have['']?.commits ?? {}, commit) || kept.head(commit);
  const lost: string[] = [];
  if (git.head !== undefined && git.head !== record.head && !await isSafe(git.head)) lost.push('.git/HEAD');
  for (const name of wipes ? git.refs.keys() : branches) {
    const commit = git.refs.get(name);
    if (commit !== undefined && commit !== git.head && !await isSafe(commit)) lost.push(`.git/${name}`);
  }
  if (![record.indexDigest, indexDigest].includes(git.indexDigest) && (git.indexTree === undefined || !await kept.index(git.indexTree))) lost.push('.git/index');
  if (!suspects.some(({ path }) => path.startsWith('.git/modules/'))) return lost;
  // What a submodule has beyond its commit then is never brought back, so it is nowhere safe but there.
  for (const [path, have] of Object.entries(record.have)) {
    if (path === '') continue;
    const inner = await readGuestGit({ ...place, guestPath: `${place.guestPath}/${Buffer.from(path, 'latin1').toString('utf8')}` });
    if (inner?.head !== undefined && !Object.hasOwn(have.commits, inner.head)) lost.push(`${path}/.git/HEAD`);
  }
  return lost;
}

function isBelow(path: string, others: ReadonlySet<string>): boolean {
  return [...directoriesOf([path])].some((above) => others.has(above));
}

function directoriesOf(paths: Iterable<string>): Set<string> {
  const found = new Set<string>();
  for (const path of paths) {
    for (let slash = path.lastIndexOf('/'); slash > 0 && !found.has(path.slice(0, slash)); slash = path.lastIndexOf('/', slash - 1)) found.add(path.slice(0, slash));
  }
  return found;
}

/** Of paths where nothing is to be, those where something is. */
export async function stillThere(place: GuestPlace, paths: readonly string[]): Promise<readonly string[]> {
  if (paths.length === 0) return [];
  return (await checkTree(place, place.guestPath, paths.map((path) => expectedOf(path, undefined)))).map(({ path }) => path);
}

function expectedOf(path: string, entry: ManifestEntry | undefined): Expected {
  if (entry === undefined) return { path, kind: 'none', mode: 0, size: 0, mtimeNs: 0n };
  return { path, kind: entry.kind, mode: entry.mode, size: entry.size, mtimeNs: entry.mtimeNs };
}

async function lostFiles(place: GuestPlace, { edited, kept, hasGit }: { readonly edited: readonly Differing[]; readonly kept: Kept; readonly hasGit: boolean }): Promise<string[]> {
  const paths = edited.map(({ path }) => path);
  const files = edited.filter(({ kind }) => kind === 'file' || kind === 'link').map(({ path }) => path);
  if (!hasGit || files.length === 0) return paths;
  const input = Buffer.from(files.map((path) => `${path}\0`).join(''), 'latin1');
  const result = await runScript(place, { script: blobsScript, args: [place.guestPath, place.opId], input, idleLimitMs: place.limitMs });
  if (result.code !== 0) return paths;
  const safe = new Set<string>();
  for (const line of result.stdout.toString('latin1').split('\0')) {
    const match = /^\d+ ([0-9a-f]+) 0\t([^]+)$/.exec(line);
    if (match !== null && await kept.path(match[2]!, match[1]!)) safe.add(match[2]!);
  }
  return paths.filter((path) => !safe.has(path));
}

const shownPaths = 20;

export function wouldOverwrite(vmName: string, guestPath: string, lost: readonly string[]): BangerError {
  const paths = lost.slice(0, shownPaths).map(escapeName);
  const more = lost.length > 3 ? ` and ${lost.length - 3} more` : '';
  return new BangerError('workspace.would_overwrite', `The guest of ${vmName} has work in ${guestPath} that would be overwritten: ${paths.slice(0, 3).join(', ')}${more}`, {
    hint: `banger vm workspace pull ${vmName} keeps it in the host's repository; --force overwrites it`, detail: { paths, count: lost.length },
  });
}

/** For a place that holds something which no prepare of this repository put there. */
export function placeTaken(vmName: string, guestPath: string): BangerError {
  return new BangerError('workspace.would_overwrite', `The guest of ${vmName} has something else at ${guestPath}`, {
    hint: 'choose another place with --guest-path; --force writes into it, --force --clean replaces it', detail: { paths: [guestPath], count: 1 },
  });
}
