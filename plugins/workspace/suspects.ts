// The repositories of a workspace that a prepare may write over: what was sent of each, and what is about to be.
import type { Exec, Vm } from '../../core/plugin-api.ts';
import { keptIn } from './back/kept.ts';
import type { Kept } from './back/kept.ts';
import type { Suspect } from './guest-state.ts';
import { toBytes } from './host/bytes.ts';
import type { Staged, StagedSubmodule } from './host/stage.ts';
import type { Pending } from './record.ts';
import type { WorkspaceRecord } from './schema.ts';
import type { StagedSmallFiles } from './small-files.ts';

export interface SuspectInput {
  readonly exec: Pick<Exec, 'run'>;
  readonly vm: Vm;
  readonly staged: Staged;
  /** Absent: nothing was sent to the end. */
  readonly record: WorkspaceRecord | undefined;
  readonly pending: Pending;
  readonly branches: StagedSmallFiles['branches'];
  /** Of the repository itself. */
  readonly kept: Kept;
  readonly wipes: boolean;
  readonly signal: AbortSignal;
}

/** The repository itself, then its submodules; those that the host has no more only when all of it goes. */
export function suspectsOf(input: SuspectInput): readonly [Suspect, ...Suspect[]] {
  const { exec, vm, staged, record, wipes, signal } = input;
  const carried = new Set(staged.submodules.map(({ gitPath }) => gitPath));
  const gone = wipes ? Object.keys(record?.submodules ?? {}).filter((gitPath) => !carried.has(gitPath)) : [];
  return [
    outermost(input),
    ...staged.submodules.map((submodule) => suspect(input, submodule.gitPath, { submodule, kept: keptLater(() => keptIn(exec, submodule.repo, vm.name, { signal })) })),
    ...gone.map((gitPath) => suspect(input, gitPath, { kept: nothingKept })),
  ];
}

function outermost({ staged, record, pending, branches, kept }: SuspectInput): Suspect {
  return {
    path: '', gitPath: '.git', now: { head: staged.headCommit }, commits: record?.have['']?.commits ?? {}, branches: branches.get('.git') ?? [], kept,
    indexDigests: known(record?.indexDigest, pending.indexes['.git'], staged.indexDigest),
    ...(record === undefined ? {} : { sent: sentOf(record), control: [...record.control, record.index] }),
  };
}

function suspect({ record, pending, branches }: SuspectInput, gitPath: string, { submodule, kept }: { readonly submodule?: StagedSubmodule; readonly kept: Kept }): Suspect {
  const sent = record?.submodules[gitPath];
  return {
    path: submodule?.path ?? sent?.path ?? '', gitPath, kept, branches: branches.get(gitPath) ?? [], commits: record?.have[sent?.path ?? '']?.commits ?? {},
    indexDigests: known(sent?.indexDigest, pending.indexes[gitPath], submodule?.indexDigest),
    ...(submodule === undefined ? {} : { now: { head: submodule.headCommit } }), ...(sent === undefined ? {} : { sent: sentOf(sent), control: sent.control }),
  };
}

const known = (...digests: readonly (string | undefined)[]): readonly string[] => digests.filter((digest) => digest !== undefined);
const sentOf = ({ head, branch }: { readonly head?: string | undefined; readonly branch?: string | undefined }): Suspect['sent'] =>
  ({ head, branch: branch === undefined ? undefined : toBytes(branch) });

const nothingKept: Kept = { head: async () => false, path: async () => false, index: async () => false };

/** Nothing is asked of the host's submodule before something has to be known. */
function keptLater(begin: () => Promise<Kept>): Kept {
  let kept: Promise<Kept> | undefined;
  const ask = (): Promise<Kept> => (kept ??= begin());
  return { head: async (commit) => (await ask()).head(commit), path: async (path, id) => (await ask()).path(path, id), index: async (tree) => (await ask()).index(tree) };
}

/** Digests of the indexes that are about to be sent, by git directory. */
export function indexesOf({ indexDigest, submodules }: Staged): Readonly<Record<string, string>> {
  return Object.fromEntries([['.git', indexDigest], ...submodules.map(({ gitPath, indexDigest: digest }) => [gitPath, digest])]) as Record<string, string>;
}
