// Shapes of the workspace plugin: configuration, the VM's section, RPC, and what is remembered of a prepared workspace.
import { z } from 'zod';

export const workspaceConfig = z.strictObject({
  max_pull_mib: z.int().min(1).max(1_048_576).default(4096)
    .describe('The most that one pull takes from a guest, in MiB of packed objects'),
  pull_timeout_seconds: z.int().min(1).max(86_400).default(600)
    .describe('A pull or an export ends when the guest gives nothing over this long; four times that under software emulation.'),
});
export type WorkspaceConfig = z.output<typeof workspaceConfig>;

/** The VM's section holds nothing: what a workspace is, is known once one is prepared. */
export const workspaceSection = z.strictObject({});

const text = z.string().min(1).max(4095).refine((value) => !value.includes('\0'), 'holds a NUL character');
const ref = z.string().min(1).max(128).describe('VM id, name, or a unique prefix of either');
const absolute = text.refine((value) => value.startsWith('/'), 'must be an absolute path');
/** Git's own rules for names are git's to judge; a dash in front would be an option. */
const revision = text.refine((value) => !value.startsWith('-'), 'must not begin with a dash');
const mode = z.enum(['shallow', 'full_copy', 'metadata']);
const guestPath = absolute.describe('Absolute path in the guest');

export const prepareParams = z.strictObject({
  ref,
  path: absolute.describe('The repository on the host, or a directory in it'),
  mode: mode.default('shallow').describe('shallow: the last commits and the working files; full_copy: the whole history; metadata: no working files'),
  branch: revision.optional().describe('A branch that is made in the guest only'),
  from: revision.optional().describe('With branch: the commit where it begins; default HEAD'),
  includeUntracked: z.boolean().default(false).describe('Untracked files go along, ignored ones never'),
  guestPath: guestPath.optional().describe('Where in the guest; default /root/<name of the repository>'),
  clean: z.boolean().default(false).describe('What the guest has there beyond the checkout goes'),
  force: z.boolean().default(false).describe('Edits of the guest are overwritten'),
}).refine((params) => params.from === undefined || params.branch !== undefined, { path: ['from'], message: 'needs branch' });
export type PrepareParams = z.output<typeof prepareParams>;

const ownBranch = z.object({ name: z.string(), from: z.string().optional() }).describe('What was asked for as a branch of the guest only');
export const workspaceView = z.object({
  guestPath: z.string(), hostPath: z.string(), mode, head: z.string().optional(), branch: z.string().optional(), preparedAt: z.string(),
  includeUntracked: z.boolean().optional(), ownBranch: ownBranch.optional(),
});
const notices = z.array(z.string()).describe('One sentence each, for people');

export const prepareResult = z.object({
  workspace: workspaceView, files: z.number(), sentFiles: z.number(), sentBytes: z.number(), removedFiles: z.number(), notices,
});
export const refParams = z.strictObject({ ref });
export const statusResult = z.object({
  workspaces: z.array(workspaceView.extend({ hostHead: z.string().optional(), moved: z.boolean() })).describe('The last prepared one first'),
});
export const exportParams = z.strictObject({
  ref, guestPath: guestPath.optional(),
  baseCommit: revision.optional().describe('Commit that the patch begins at; default: the HEAD of the guest'),
});
export type ExportParams = z.output<typeof exportParams>;
export const exportResult = z.object({ ticket: z.string().describe('For the byte stream: stdout is the patch, stderr is for people') });
export const pullParams = z.strictObject({
  ref, guestPath: guestPath.optional(),
  path: absolute.optional().describe('Repository on the host to bring the work to; default: where the workspace came from'),
});
export type PullParams = z.output<typeof pullParams>;
export const pullResult = z.object({
  operation: z.string().describe('Name of the operation in the refs'), hostPath: z.string(),
  refs: z.object({ base: z.string(), head: z.string().optional(), index: z.string().optional(), worktree: z.string() }).describe('Full names of the refs made'),
  commits: z.number().describe('Commits of the guest that were not sent to it'), changedFiles: z.number(),
  leftBehind: z.array(z.string()).describe('Paths of submodules and nested repositories whose own work is in the guest only'), notices,
});

const stamp = z.strictObject({ path: z.string(), kind: z.enum(['file', 'link', 'dir', 'none']), mode: z.number(), size: z.number(), mtimeNs: z.string() });
/** What is remembered of one prepared workspace, beside its list of files. Paths are a character a byte (latin1). */
export const workspaceRecord = z.strictObject({
  guestPath: z.string(), hostPath: z.string(), gitDir: z.string(), commonDir: z.string(), mode,
  head: z.string().optional(), branch: z.string().optional(), preparedAt: z.string(),
  /** HEAD of the host then; the guest's is another with `branch` and `from`. */
  hostHead: z.string().optional(),
  includeUntracked: z.boolean(), ownBranch: ownBranch.optional(),
  /** Of the index that was sent: `git ls-files -s -z | git hash-object --stdin`. */
  indexDigest: z.string(),
  /** Tree of what was sent. Its objects are in the directory `objects` beside the list of files. */
  baseTree: z.string(),
  /** The guest's small files that tell of a moved HEAD, and its index, as they were sent. */
  control: z.array(stamp), index: stamp,
  /** By where their git directory is: `control` has HEAD, the branch and the index. */
  submodules: z.record(z.string(), z.strictObject({
    path: z.string(), head: z.string().optional(), branch: z.string().optional(), indexDigest: z.string(), control: z.array(stamp),
  })).default({}),
  /** Refs and settings that were sent, by path: what a ref named, a hash of others. Those that stay the same are not written again. */
  smallFiles: z.record(z.string(), z.string()),
  /** What the guest has of the history: '' or path of a submodule, then commit to parents. */
  have: z.record(z.string(), z.strictObject({ commits: z.record(z.string(), z.array(z.string())), shallow: z.array(z.string()) })),
});
export type WorkspaceRecord = z.output<typeof workspaceRecord>;
export type Stamp = z.output<typeof stamp>;
/** Of a prepare that has not ended, beside its list of files. */
export const pendingIndexes = z.record(z.string(), z.string());
export const recordFile = z.strictObject({ version: z.literal(1), workspaces: z.array(workspaceRecord) });
