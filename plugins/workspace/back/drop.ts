// Lets go of kept work: its refs go in one transaction, its objects with git's next housekeeping.
import { ambiguousRef } from '../../../core/plugin-api.ts';
import type { Exec } from '../../../core/plugin-api.ts';
import { createGit } from '../host/git.ts';
import type { Repository } from '../host/repository.ts';
import { nothingKept } from './list.ts';
import { parseRef, refPrefix } from './names.ts';

/** Which: one operation (its name, or the beginning of one) or `all` of the VM. */
export type DropChoice = { readonly vm: string; readonly operation: string } | { readonly vm: string; readonly all: true };

/** Drops kept work, also what an import that was killed left of its refs. Gives the names of the operations. @throws not_found; ambiguous_ref; bad_request; operation_failed */
export async function dropWork(exec: Pick<Exec, 'run'>, repo: Pick<Repository, 'root'>, choice: DropChoice): Promise<string[]> {
  const git = createGit(exec, repo.root);
  const { stdout } = await git.run(['for-each-ref', '--format=%(objectname) %(refname)', refPrefix(choice.vm)]);
  const refs = stdout.split('\n').flatMap((line) => {
    const [id = '', name = ''] = line.split(' ');
    const ref = parseRef(name);
    return ref === undefined ? [] : [{ id, name, operation: ref.operation }];
  });
  const known = [...new Set(refs.map(({ operation }) => operation))].toSorted();
  const dropped = new Set('all' in choice ? known : chosen(known, choice.operation));
  if (dropped.size === 0) throw nothingKept(repo, choice.vm, 'all' in choice ? undefined : choice.operation);
  const lines = refs.filter(({ operation }) => dropped.has(operation)).map(({ id, name }) => `delete ${name} ${id}\n`);
  await git.run(['update-ref', '--stdin'], { input: lines.join('') });
  return [...dropped];
}

function chosen(known: readonly string[], operation: string): readonly string[] {
  if (known.includes(operation)) return [operation];
  const fit = known.filter((each) => operation !== '' && each.startsWith(operation));
  if (fit.length > 1) throw ambiguousRef('Operation', operation, fit);
  return fit;
}
