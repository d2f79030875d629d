// Flags that say what goes into a VM, and what of them makes no sense. Nothing is read from the disk here.
import { resolve } from 'node:path';
import type { WorkspaceMode, WorkspacePrepareParams } from '../../core/api.ts';
import { badRequest } from '../../core/errors.ts';
import { usageError, type Flags } from '../parse.ts';
import { modes, workspaceFlags } from './flags.ts';

/** What `planWorkspace` takes and `vm.workspace.prepare` is told. */
export interface WorkspaceOptions {
  readonly mode: WorkspaceMode;
  readonly branch?: string;
  readonly from?: string;
  readonly includeUntracked: boolean;
  readonly guestPath?: string;
}

/** @throws bad_request for flags that do not go together, and values that are none */
export function workspaceOptions(flags: Flags): WorkspaceOptions {
  const mode = flags.text('mode') ?? 'shallow';
  const [branch, from, guestPath] = [flags.text('branch'), flags.text('from'), flags.text('guest-path')];
  if (!modes.includes(mode)) throw badRequest([{ path: '--mode', message: `wants ${modes.join(', ')}, got ${mode}` }], 'flag');
  if (from !== undefined && branch === undefined) throw usageError('--from needs --branch', 'it says where the new branch begins: --branch <name> --from <commit>');
  return {
    mode: mode as WorkspaceMode, includeUntracked: flags.on('include-untracked'),
    ...(branch === undefined ? {} : { branch }), ...(from === undefined ? {} : { from }), ...(guestPath === undefined ? {} : { guestPath }),
  };
}

/** The flags given that mean nothing without a repository, each as it was typed: the flag, then its value. */
export function repositoryFlags(flags: Flags, more: readonly string[] = []): readonly (readonly [flag: string, ...value: string[]])[] {
  return [...workspaceFlags.map(({ name }) => name), ...more].flatMap((name) => {
    const value = flags.value(name);
    return value === undefined ? [] : [typeof value === 'string' ? [`--${name}`, value] as const : [`--${name}`] as const];
  });
}

/**
 * A path as typed, made absolute: the daemon has a working directory of its own.
 * @throws bad_request for an empty one (a variable that is not set would mean this directory), and where this directory is gone
 */
export function absolutePath(word: string): string {
  if (word === '') throw usageError('The path is empty', 'a dot is the current directory');
  try {
    return resolve(word);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    throw usageError('The current directory does not exist any more', 'change into one that does');
  }
}

/** Parameters without what is left to the daemon's defaults. */
export function prepareParams(ref: string, path: string, options: WorkspaceOptions): WorkspacePrepareParams {
  const { mode, includeUntracked, ...rest } = options;
  return { ref, path, mode, ...rest, ...(includeUntracked ? { includeUntracked } : {}) };
}
