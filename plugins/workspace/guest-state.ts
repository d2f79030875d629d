// What the guest has where a workspace goes: whether it may be written over, and what of it would be lost.
import { BangerError } from '../../core/plugin-api.ts';
import type { Kept } from './back/kept.ts';
import { isAsSent } from './changes.ts';
import type { Manifest, ManifestEntry } from './manifest.ts';
import { checkTree } from './guest/tree.ts';
import type { Differing, Expected } from './guest/tree.ts';
import { lostHistory, movedHead, readGuestGit, shownGitPath } from './guest-git.ts';
import type { GuestPart, GuestPlace } from './guest-git.ts';
import { blobsScript } from './guest/scripts.ts';
import { runScript } from './guest/script.ts';
import type { Stamp, WorkspaceRecord } from './schema.ts';
import { toBytes } from './host/bytes.ts';
import { escapeName } from './host/escape.ts';

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

/** A repository of the workspace that may hold work of the guest. */
export interface Suspect extends GuestPart {
  /** What tells that the guest did something there; absent where nothing was sent: then nothing is to be there. */
  readonly control?: readonly Stamp[];
}
export interface LossInput {
  readonly before: Manifest;
  readonly pending: Manifest;
  readonly now: ReadonlyMap<string, ManifestEntry>;
  /** Paths that will be written or removed. */
  readonly touched: readonly string[];
  readonly kept: Kept;
  /** The repository itself, then those submodules of which something will be written or removed. */
  readonly parts: readonly [Suspect, ...Suspect[]];
  /** All of it goes (`--clean`): whatever has a name there counts. */
  readonly wipes: boolean;
}
export interface Losses {
  /** What would be lost and is not kept elsewhere: paths, `.git/HEAD`, `.git/index`. */
  readonly lost: readonly string[];
  /** Of the touched paths, those that are not as they were sent. */
  readonly differing: readonly Differing[];
  /** Directories where a file or link goes, that hold more than the files which go away. */
  readonly full: readonly string[];
  /** Files and links of the guest where a directory has to be. */
  readonly inTheWay: readonly string[];
  /** Of the paths to remove, those where the guest has something of its own in place of the file: that stays. */
  readonly untouched: ReadonlySet<string>;
  /** HEADs of the guest that are not those that were sent. */
  readonly movedHeads: readonly MovedHead[];
}
export interface MovedHead { readonly path: string; readonly gitPath: string; readonly commit: string }

/** Looks at the paths that would be touched, HEADs and indexes, and at no other file of the guest. */
export async function findLosses(place: GuestPlace, input: LossInput): Promise<Losses> {
  const { parts, kept, wipes } = input;
  const controls = parts.map(controlOf);
  const links = gitLinksOf(parts);
  const files = expectFiles(input, links);
  const answers = await checkTree(place, place.guestPath, [...controls.flat(), ...links, ...files.expected]);
  const kinds = new Map(answers.map(({ path, kind }) => [path, kind]));
  const [ours, modules] = [new Set(controls.flat().map(({ path }) => path)), new Set(links.map(({ path }) => path))];
  const replaced = answers.filter(({ path, kind }) => modules.has(path) && (kind === 'dir' || kind === 'other'));
  const room = roomFor(input, { found: answers.filter(({ path }) => !ours.has(path) && !modules.has(path)), parents: files.parents });
  const full = await stillFull(place, room.emptied, input.touched.filter((path) => !input.now.has(path) && !room.gone.has(path)));
  const differing = [...room.differing, ...replaced];
  // What the guest deleted holds nothing that could be lost.
  const edited = differing.filter(({ kind }) => kind !== 'none');
  const asked = parts.filter((part, n) => controls[n]!.some(({ path }) => kinds.has(path)) || otherBranches(part).length > 0 || isUnborn(part) || (wipes && part.control !== undefined));
  const { lost: history, movedHeads } = await lostParts(place, { asked, kinds, wipes });
  return { differing, full, inTheWay: room.inTheWay, untouched: room.untouched, movedHeads, lost: [...history, ...await lostFiles(place, edited, kept), ...full] };
}

function controlOf({ gitPath, control }: Suspect): readonly Expected[] {
  return control === undefined ? [expectedOf(`${gitPath}/HEAD`, undefined)] : control.map(fromStamp);
}

/** A file of that name is ours or worth nothing; in a directory, or behind a link, is a repository that took the submodule's place. */
function gitLinksOf(parts: readonly Suspect[]): readonly Expected[] {
  return parts.flatMap(({ path, now }) => (path === '' || now === undefined ? [] : [expectedOf(`${path}/.git`, undefined)]));
}

/** HEAD's own is looked at with HEAD. Refs of branches are not looked at as files: the guest's housekeeping may have packed them. */
const otherBranches = ({ branches, sent }: Suspect): readonly string[] => branches.filter((name) => name !== `refs/heads/${sent?.branch ?? ''}`);

/** Its branch goes, and no file that was sent tells whether there is one. */
const isUnborn = ({ path, control, now }: Suspect): boolean => path === '' && control !== undefined && now !== undefined && now.head === undefined;

/** `kinds`: of the paths that are not as they were sent. */
async function lostParts(place: GuestPlace, { asked, kinds, wipes }: {
  readonly asked: readonly Suspect[]; readonly kinds: ReadonlyMap<string, Differing['kind']>; readonly wipes: boolean;
}): Promise<Pick<Losses, 'lost' | 'movedHeads'>> {
  const lost: string[] = [];
  const movedHeads: MovedHead[] = [];
  for (const part of asked) {
    const git = await readGuestGit(place, part.gitPath, { everyName: wipes });
    if (git === undefined) {
      // What is not there is not lost.
      lost.push(...controlOf(part).map(({ path }) => path).filter((path) => !['none', undefined].includes(kinds.get(path)))
        .map((path) => shownGitPath(part) + path.slice(part.gitPath.length)));
      continue;
    }
    lost.push(...await lostHistory(git, part, { wipes }));
    const commit = movedHead(git, part);
    if (commit !== undefined) movedHeads.push({ path: part.path, gitPath: part.gitPath, commit });
  }
  return { lost, movedHeads };
}

interface Files { readonly expected: readonly Expected[]; readonly parents: ReadonlySet<string> }

function expectFiles({ touched, before, now }: LossInput, links: readonly Expected[]): Files {
  // Where a directory has to be for them; what was a file before is touched itself.
  const parents = new Set([...directoriesOf([...touched.filter((path) => now.has(path)), ...links.map(({ path }) => path)])].filter((path) => !before.has(path)));
  const directories = [...parents].map((path) => ({ path, kind: 'dir' as const, mode: 0, size: 0, mtimeNs: 0n }));
  return { parents, expected: [...touched.map((path) => expectedOf(path, before.get(path))), ...directories] };
}

interface Room extends Pick<Losses, 'differing' | 'inTheWay' | 'untouched'> {
  /** Directories where a file or link goes, that held files which go away: they are to be empty then. */
  readonly emptied: readonly string[];
  /** Of the touched paths, those where the guest has no file or link. */
  readonly gone: ReadonlySet<string>;
}

function roomFor({ before, pending, now, touched }: LossInput, { found, parents }: { readonly found: readonly Differing[]; readonly parents: ReadonlySet<string> }): Room {
  const isFile = ({ kind }: Differing): boolean => kind === 'file' || kind === 'link';
  const inTheWay = found.filter((actual) => parents.has(actual.path) && isFile(actual)).map(({ path }) => path);
  const gone = new Set(found.filter((actual) => !parents.has(actual.path) && !isFile(actual)).map(({ path }) => path));
  const untouched = new Set(found.filter(({ path, kind }) => gone.has(path) && !now.has(path) && kind !== 'none').map(({ path }) => path));
  // A link that was sent and goes away is judged by itself; what is below its path is not there yet.
  const leaving = new Set([...inTheWay, ...touched.filter((path) => before.has(path) && !now.has(path))]);
  const unlike = found.filter((actual) => !isAsSent(actual, pending.get(actual.path)) && !isAsSent(actual, now.get(actual.path))
    && !untouched.has(actual.path) && !(actual.kind === 'other' && isBelow(actual.path, leaving)));
  const above = directoriesOf(before.keys());
  const isEmptied = ({ path, kind }: Differing): boolean => kind === 'dir' && above.has(path);
  return {
    inTheWay, gone, untouched, emptied: unlike.filter(isEmptied).map(({ path }) => path), differing: unlike.filter((actual) => !isEmptied(actual)),
  };
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

/** Of directories, those that hold more than files which go. `going`: those that are there. */
async function stillFull(place: GuestPlace, directories: readonly string[], going: readonly string[]): Promise<readonly string[]> {
  if (directories.length === 0) return [];
  const counts = new Map(directories.map((path) => [path, 0]));
  for (const path of going) for (const above of directoriesOf([path])) if (counts.has(above)) counts.set(above, counts.get(above)! + 1);
  const answers = await checkTree(place, place.guestPath, [...counts].map(([path, size]) => ({ path, kind: 'leaves' as const, mode: 0, size, mtimeNs: 0n })));
  return answers.filter(({ kind }) => kind !== 'none').map(({ path }) => path);
}

function expectedOf(path: string, entry: ManifestEntry | undefined): Expected {
  if (entry === undefined) return { path, kind: 'none', mode: 0, size: 0, mtimeNs: 0n };
  return { path, kind: entry.kind, mode: entry.mode, size: entry.size, mtimeNs: entry.mtimeNs };
}

async function lostFiles(place: GuestPlace, edited: readonly Differing[], kept: Kept): Promise<string[]> {
  const paths = edited.map(({ path }) => path);
  const files = edited.filter(({ kind }) => kind === 'file' || kind === 'link').map(({ path }) => path);
  if (files.length === 0) return paths;
  const input = Buffer.from(files.map((path) => `${path}\0`).join(''), 'latin1');
  const result = await runScript(place, { script: blobsScript, args: [place.guestPath, place.opId], input, idleLimitMs: place.limitMs });
  // No git in the guest, or no repository to it.
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
