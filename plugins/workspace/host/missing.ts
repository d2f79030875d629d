// A partial clone has some of its objects at a remote only, which is never asked.
import { BangerError } from '../../../core/plugin-api.ts';
import type { Repository } from './repository.ts';

/** The same error, or what it means when objects are missing. */
export function explainMissing(error: unknown, repo: Pick<Repository, 'isPartial' | 'root'>, stderr: string): unknown {
  const isMissing = /transport '[^']*' not allowed|promisor remote|unable to read|missing|bad object|invalid object|Could not read|not a valid object/i.test(stderr);
  if (!isMissing) return error;
  if (repo.isPartial) {
    return new BangerError('unsupported', `${repo.root} is a partial clone and objects that have to be sent are not in it`, {
      hint: 'fetch them first: git fetch --refetch --no-filter', cause: error,
    });
  }
  return new BangerError('operation_failed', `Objects are missing in ${repo.root}`, { hint: 'git fsck tells which', cause: error });
}
