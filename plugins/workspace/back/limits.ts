// How git is run on objects that a guest made, and what its refusals mean.
import { BangerError, isBangerError } from '../../../core/plugin-api.ts';
import type { Exec } from '../../../core/plugin-api.ts';
import type { Git } from '../host/git.ts';
import { gitStderr } from '../host/git.ts';
import { lastWord } from './text.ts';

/**
 * Bounds git's memory, whatever a pack says of itself. git refuses a single allocation above this: an object that is not streamed (a tree, the
 * result of a delta), a pack of more than 2 million objects, a history or tree of more than 8 million names. A handful of such allocations
 * may live at once.
 */
const allocLimit = '128m';
/** Files above this are streamed, never held in memory, and take no part in deltas. */
const streamAbove = '16m';

/** Settings for every git that reads what a guest made. */
export const hostileArgs: readonly string[] = ['-c', `core.bigFileThreshold=${streamAbove}`, '-c', 'core.deltaBaseCacheLimit=16m', '-c', 'pack.windowMemory=64m'];
export const hostileEnv: Readonly<Record<string, string>> = { GIT_ALLOC_LIMIT: allocLimit };
/** Everything written reaches the disk before git says it is done. Versions before 2.36 know the second setting only. */
export const durableArgs: readonly string[] = ['-c', 'core.fsync=all', '-c', 'core.fsyncMethod=fsync', '-c', 'core.fsyncObjectFiles=true'];

/** Value for GIT_ALTERNATE_OBJECT_DIRECTORIES: a colon in a path would end it, so paths are quoted as in C. */
export function alternates(dirs: readonly string[]): string {
  return dirs.map((dir) => `"${dir.replaceAll(/["\\]/g, '\\$&').replaceAll('\n', '\\n')}"`).join(':');
}

export const rejected = (vm: string, why: string, cause?: unknown): BangerError =>
  new BangerError('workspace.rejected', `The work in the guest of ${vm} is refused: ${why}`, {
    hint: `nothing of it is in the host's repository; banger vm workspace export ${vm} takes it out as a patch`,
    ...(cause === undefined ? {} : { cause }),
  });

/** Runs git on objects of the guest. That git fails is the guest's doing, unless it says otherwise. @throws workspace.rejected; workspace.too_large; what git.run throws */
export async function judge<T>(vm: string, run: Promise<T>): Promise<T> {
  try {
    return await run;
  } catch (error) {
    if (!isBangerError(error) || error.code !== 'operation_failed') throw error;
    const stderr = gitStderr(error);
    if (/No space left|Disk quota exceeded|Read-only file system|Permission denied|bad object (refs\/|HEAD)/.test(stderr)) throw error;
    if (/attempting to allocate|exceeds maximum allowed size|[Oo]ut of memory/.test(stderr)) {
      throw new BangerError('workspace.too_large', `The work in the guest of ${vm} holds something too large: ${lastWord(stderr)}`, { cause: error });
    }
    throw rejected(vm, lastWord(stderr) || error.message, error);
  }
}

/** A git whose every run is bounded for objects of a guest; `env` adds to each. */
export function boundedGit(git: Git, env: Readonly<Record<string, string>> = {}): Git {
  return { run: (args, options = {}) => git.run([...hostileArgs, ...args], { ...options, env: { ...hostileEnv, ...env, ...options.env } }) };
}

/** The most that git says about work of a guest: a million names of 60 bytes. */
const maxAnswerBytes = 64 * 1024 * 1024;

/** Programs whose answers are kept short, so that names without end in a guest's trees do not fill our memory. @throws workspace.too_large */
export function shortAnswers(exec: Pick<Exec, 'run'>): Pick<Exec, 'run'> {
  return {
    async run(program, args, options) {
      const result = await exec.run(program, args, { ...options, maxOutputBytes: maxAnswerBytes });
      if (result.stdout.length >= maxAnswerBytes) throw new BangerError('workspace.too_large', 'The work of the guest has too many names');
      return result;
    },
  };
}
