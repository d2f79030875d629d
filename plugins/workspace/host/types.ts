// What planning and staging give each other and those who send the result.
import type { WorkspaceMode } from '../../../core/api.ts';
import type { Repository } from './repository.ts';

/** A file or link of the host's working tree. */
export interface WorkFile {
  /** Below the root; latin1, a character a byte. */
  readonly path: string;
  readonly kind: 'file' | 'link';
  /** Permission bits. */
  readonly mode: number;
  readonly size: number;
  readonly mtimeNs: bigint;
  readonly ctimeNs: bigint;
  readonly ino: bigint;
}
export interface PlanOptions {
  readonly mode: WorkspaceMode;
  readonly branch?: string | undefined;
  readonly from?: string | undefined;
  readonly includeUntracked: boolean;
  readonly guestPath?: string | undefined;
}
export interface Submodule {
  /** Below the root of the outermost repository; latin1. */
  readonly path: string;
  /** What `.gitmodules` of the repository around it calls it; latin1. */
  readonly name: string;
  /** Where its git directory goes, below the root: `.git/modules/<name>`, for nested ones `.git/modules/<outer>/modules/<name>`; latin1. */
  readonly gitPath: string;
  /** Path of the submodule around it; empty for those of the outermost repository. */
  readonly parent: string;
  readonly repo: Repository;
}
export interface HostPlan {
  readonly repo: Repository;
  readonly options: PlanOptions;
  /** Absolute, normalised; an ordinary string. */
  readonly guestPath: string;
  /** Absent: the branch has no commit yet. */
  readonly headCommit?: string;
  /** Short name, an ordinary string; absent: HEAD is detached. */
  readonly headBranch?: string;
  /** Sorted by bytes; those of submodules included. With `needsCheckout`: as they will be, without times, links and files sized as git has them. */
  readonly files: readonly WorkFile[];
  /** Paths of `files` that git does not track, sorted; none without `includeUntracked`. */
  readonly untracked: readonly string[];
  /** One sentence each. */
  readonly notices: readonly string[];
  /** Outer ones before those inside of them. */
  readonly submodules: readonly Submodule[];
  /** The files are those of another commit (`--from`), not the host's working files. */
  readonly needsCheckout: boolean;
}

/**
 * What the guest's repository has: these commits, what their trees hold, and all their ancestors down to those of `shallow`. With a whole history
 * only the tips of branches are listed.
 */
export interface Have {
  /** Commit to its parents. */
  readonly commits: Readonly<Record<string, readonly string[]>>;
  readonly shallow: readonly string[];
}
export interface StageInput {
  readonly plan: HostPlan;
  /** An empty directory of ours. */
  readonly dir: string;
  /** A directory of ours that is kept with the record: objects of `baseTree` that the host's repository need not have. */
  readonly objectsDir: string;
  /** By path of the submodule, '' for the repository itself. */
  readonly have?: Readonly<Record<string, Have>> | undefined;
}
export interface StagedSubmodule {
  /** As of `Submodule`. */
  readonly path: string;
  readonly gitPath: string;
  readonly repo: Repository;
  readonly headCommit?: string;
  readonly headBranch?: string;
  /** See `Staged`. */
  readonly indexDigest: string;
  /** HEAD, the branch's ref, the index. */
  readonly control: readonly string[];
}
export interface Staged {
  /** `<dir>/tree`, and the host's working tree or `<dir>/checkout`; ordinary strings. */
  readonly bases: readonly [string, string];
  /**
   * Paths below `bases[0]`, latin1, in the order they must land: objects, then `shallow` and config, last index, refs, HEAD. Files whose times are to be
   * kept, and directories that may be empty.
   */
  readonly git: readonly string[];
  /** Of `bases[1]`, as they are now. */
  readonly files: readonly WorkFile[];
  /** Of `git`: HEAD and the branch's ref. What tells a commit or checkout of the guest. */
  readonly control: readonly string[];
  readonly submodules: readonly StagedSubmodule[];
  /** What the guest has once this has landed. */
  readonly have: Readonly<Record<string, Have>>;
  readonly headCommit?: string;
  readonly headBranch?: string;
  /** `git ls-files -s -z | git hash-object --stdin` in the staged checkout. */
  readonly indexDigest: string;
  /** Tree of what is sent, untracked files that are sent included; its new objects are in `objectsDir`. */
  readonly baseTree: string;
  /** What only staging could tell; those of the plan are not repeated. */
  readonly notices: readonly string[];
}
