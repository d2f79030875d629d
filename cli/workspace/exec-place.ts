// Where a command of `vm exec` runs, and whether what it finds there is what the host has.
import type { WorkspaceStatus } from '../../core/api.ts';
import { BangerError, isBangerError } from '../../core/errors.ts';
import type { CommandContext } from '../command.ts';
import type { Daemon } from '../daemon-link.ts';
import type { Interrupts } from '../interrupts.ts';
import { printable } from '../render/table.ts';
import { runSession } from '../session.ts';
import { prepareParams } from './options.ts';
import { prepareWorkspace } from './prepare.ts';
import { movedLine, noWorkspace, workspacesOf } from './status.ts';

export interface Placed { readonly ref: string; readonly cwd?: string | undefined; readonly user?: string | undefined }

export interface Place<T extends Placed> {
  readonly params: T;
  /** The one that the command runs in, where that is known. */
  readonly workspace?: WorkspaceStatus | undefined;
}

/**
 * The same command, in the workspace prepared last unless it has a place of its own. Warns of a repository that moved on, or prepares again.
 * @throws Interrupted; operation_failed or what the daemon says when it cannot be prepared
 */
export async function placeCommand<T extends Placed>({ flags, io }: CommandContext, daemon: Daemon, call: { readonly params: T; readonly interrupts: Interrupts }): Promise<Place<T>> {
  const { params, interrupts } = call;
  const [again, quiet] = [flags.on('auto-prepare'), flags.on('quiet')];
  // Others cannot enter root's home, where workspaces are.
  const wantsPlace = params.cwd === undefined && (params.user === undefined || params.user === 'root');
  if (!again && !wantsPlace && quiet) return { params };
  const workspaces = await workspacesOf(daemon, params.ref);
  const workspace = params.cwd === undefined ? workspaces[0] : around(workspaces, params.cwd);
  if (workspace === undefined && again) throw noWorkspace(params.ref);
  if (workspace === undefined) return { params };
  if (again) await prepareAgain(daemon, { ref: params.ref, workspace }, { io, interrupts, quiet });
  else if (!quiet) warn(movedLine(params.ref, workspace), io);
  return { workspace, params: wantsPlace ? { ...params, cwd: workspace.guestPath } : params };
}

/** What a shell and the guest agent answer for what is there and cannot be run, and the agent for a directory that it cannot enter. */
const notRunnable = 126;
const answerLimitMs = 10_000;

/**
 * The line for a command that ended with a code because its workspace is gone; nothing in every other case. A program that no guest has is not
 * found in a directory that is there: the guest needs nothing to answer.
 */
export async function goneError(daemon: Daemon, { params, workspace }: Place<Placed>, code: number): Promise<BangerError | undefined> {
  if (code !== notRunnable || workspace === undefined) return undefined;
  const { guestPath } = workspace;
  const silent = { write: async () => undefined };
  const probe = runSession(daemon, { ref: params.ref, command: ['/nonexistent/banger'], cwd: guestPath, stdin: false }, {
    streams: { stdout: silent, stderr: silent }, interrupts: { handle: () => undefined },
  }).catch(() => undefined); // then it is not known
  if (await withLimit(probe, answerLimitMs) !== notRunnable) return undefined;
  return new BangerError('not_found', `The workspace ${printable(guestPath)} is not in the guest of ${params.ref} any more, so the command did not run`, { hint: '--auto-prepare puts it in again' });
}

async function withLimit<T>(answer: Promise<T>, limitMs: number): Promise<T | undefined> {
  const limit = Promise.withResolvers<undefined>();
  const timer = setTimeout(() => limit.resolve(undefined), limitMs);
  return Promise.race([answer, limit.promise]).finally(() => clearTimeout(timer));
}

/** The innermost workspace that a directory is in. */
function around(workspaces: readonly WorkspaceStatus[], cwd: string): WorkspaceStatus | undefined {
  const inside = workspaces.filter(({ guestPath }) => cwd === guestPath || cwd.startsWith(`${guestPath}/`));
  return inside.toSorted((a, b) => b.guestPath.length - a.guestPath.length)[0];
}

function warn(line: string | undefined, io: CommandContext['io']): void {
  if (line !== undefined) io.err(`banger: ${printable(line)}\n`);
}

async function prepareAgain(daemon: Daemon, { ref, workspace }: { readonly ref: string; readonly workspace: WorkspaceStatus }, call: Parameters<typeof prepareWorkspace>[2]): Promise<void> {
  const { guestPath, hostPath, mode, includeUntracked = false, ownBranch } = workspace;
  const branch = ownBranch === undefined ? {} : { branch: ownBranch.name, ...(ownBranch.from === undefined ? {} : { from: ownBranch.from }) };
  try {
    await prepareWorkspace(daemon, prepareParams(ref, hostPath, { mode, guestPath, includeUntracked, ...branch }), call);
  } catch (error) {
    // A repository that is gone is no bad usage of `vm exec`: the command did not run, so 125.
    if (!isBangerError(error) || error.code !== 'bad_request') throw error;
    throw new BangerError('operation_failed', error.message, { hint: error.hint, detail: error.detail, cause: error });
  }
}
