// What git says in the guest: HEAD, branches and index of the workspace and of its submodules, and what of that would lose its name.
import type { Kept } from './back/kept.ts';
import { runScript, scriptCode } from './guest/script.ts';
import { stateScript } from './guest/scripts.ts';
import type { GuestTarget } from './guest/run.ts';

export interface GuestGit {
  readonly head?: string;
  readonly headTree?: string;
  /** Short name; latin1. */
  readonly branch?: string;
  readonly indexDigest: string;
  readonly indexTree?: string;
  /** Branches and the stash by full name; tags by what they tag. */
  readonly refs: ReadonlyMap<string, string>;
}
export interface GuestPlace extends GuestTarget { readonly guestPath: string; readonly opId: string; readonly limitMs: number }

/** Some thousand branches. */
const maxStateBytes = 1024 * 1024;
/** A send that was cut has brought HEAD and no index. By kind of repository: the ids of an empty file. */
const emptyIndexes = ['e69de29bb2d1d6434b8b29ae775ad8c2e48c5391', '473a0f4c3be8a93681a267e3b1e9a7dcda1185436fe141f7749120a303721813'];
/** More than there are kinds of lines. */
const maxKeys = 16;
/** Commits of one repository that the host is asked for, each by two or three programs; what is beyond counts as not kept. */
const maxAsked = 500;

/**
 * Undefined: the guest has no git, or there is no repository to it.
 *
 * @param gitPath below the workspace: `.git`, or where a submodule's git directory is; latin1, but UTF-8
 * @param options `everyName`: tags, notes, what earlier prepares left behind and other worktrees' HEADs, too
 */
export async function readGuestGit(place: GuestPlace, gitPath: string, { everyName = false } = {}): Promise<GuestGit | undefined> {
  const dir = `${place.guestPath}/${Buffer.from(gitPath, 'latin1').toString('utf8')}`;
  const result = await runScript(place, { script: stateScript, args: [dir, place.opId, everyName ? 'all' : ''], idleLimitMs: place.limitMs, maxStdoutBytes: maxStateBytes });
  if (result.code !== 0 && result.code !== scriptCode.noGit && result.stdout.length === 0) return undefined;
  const { refs, said } = parseState(result.stdout.toString('latin1'));
  const id = (key: string): string | undefined => (/^[0-9a-f]{40}([0-9a-f]{24})?$/.test(said.get(key) ?? '') ? said.get(key) : undefined);
  const [head, headTree, indexDigest, indexTree] = [id('head'), id('headtree'), id('index'), id('tree')];
  const branch = /^refs\/heads\/(.+)$/.exec(said.get('branch') ?? '')?.[1];
  if (indexDigest === undefined) return undefined;
  return {
    indexDigest, refs, ...(head === undefined ? {} : { head }), ...(headTree === undefined ? {} : { headTree }),
    ...(indexTree === undefined ? {} : { indexTree }), ...(branch === undefined ? {} : { branch }),
  };
}

/** Line by line: a guest that says a million lines is not to fill the memory with them. */
function parseState(text: string): { readonly refs: ReadonlyMap<string, string>; readonly said: ReadonlyMap<string, string> } {
  const [refs, said] = [new Map<string, string>(), new Map<string, string>()];
  for (let from = 0, end = 0; from < text.length; from = end + 1) {
    end = text.indexOf('\n', from);
    if (end < 0) end = text.length;
    const space = text.indexOf(' ', from);
    if (space <= from || space > end) continue;
    const line = text.slice(from, end);
    const ref = /^ref ([0-9a-f]+) (refs\/.+)$/.exec(line);
    if (ref !== null) refs.set(ref[2]!, ref[1]!);
    else if (said.size < maxKeys) said.set(text.slice(from, space), text.slice(space + 1, end));
  }
  return { refs, said };
}

/** One repository of a workspace, or a submodule: what was sent of it, what is about to be, and what counts as safe. */
export interface GuestPart {
  /** '' for the repository itself, or the submodule's path. */
  readonly path: string;
  /** `.git`, or where a submodule's git directory is; latin1. */
  readonly gitPath: string;
  /** HEAD and branch (short name; latin1) that it was sent, if it was. */
  readonly sent?: { readonly head?: string | undefined; readonly branch?: string | undefined } | undefined;
  /** HEAD that is about to be sent. Absent: nothing of it is. */
  readonly now?: { readonly head?: string | undefined } | undefined;
  /** Indexes that were sent, that a prepare which did not come to its end was about to send, and that are about to be. */
  readonly indexDigests: readonly string[];
  /** Commits that were sent. */
  readonly commits: Readonly<Record<string, unknown>>;
  /** Full names of the branches that will be written. */
  readonly branches: readonly string[];
  readonly kept: Kept;
}

/** As people know it: where a submodule's git directory lies is git's own business. */
export const shownGitPath = ({ path }: Pick<GuestPart, 'path'>): string => (path === '' ? '.git' : `${path}/.git`);

/** Commits and staged changes that nothing but the guest has, and that would lose their name. `wipes`: whatever has a name there counts. */
export async function lostHistory(git: GuestGit, part: GuestPart, { wipes }: { readonly wipes: boolean }): Promise<string[]> {
  const { sent, now, commits, kept } = part;
  const shown = shownGitPath(part);
  const asked = new Map<string, boolean>();
  const isSafe = async (commit: string): Promise<boolean> => {
    if (commit === sent?.head || commit === now?.head || Object.hasOwn(commits, commit)) return true;
    const known = asked.get(commit) ?? (asked.size < maxAsked && await kept.head(commit));
    asked.set(commit, known);
    return known;
  };
  const lost: string[] = [];
  const isHeadSafe = git.head === undefined || await isSafe(git.head);
  if (!isHeadSafe) lost.push(`${shown}/HEAD`);
  for (const name of wipes ? git.refs.keys() : part.branches) {
    const commit = git.refs.get(name);
    if (commit !== undefined && commit !== git.head && !await isSafe(commit)) lost.push(`${shown}/${name}`);
  }
  // It went where HEAD went. With HEAD where it was, it is the guest's work.
  const isCommitted = git.indexTree !== undefined && git.indexTree === git.headTree && git.head !== sent?.head && isHeadSafe;
  const isKnown = part.indexDigests.includes(git.indexDigest) || (sent === undefined && emptyIndexes.includes(git.indexDigest));
  if (!isKnown && !isCommitted && (git.indexTree === undefined || !await kept.index(git.indexTree))) lost.push(`${shown}/index`);
  return lost;
}

/** HEAD of the guest, when it is not the one that was sent. */
export function movedHead(git: GuestGit, { sent, now }: Pick<GuestPart, 'sent' | 'now'>): string | undefined {
  if (sent === undefined && git.head === now?.head) return undefined;
  return git.head !== sent?.head || git.branch !== sent?.branch ? git.head : undefined;
}
