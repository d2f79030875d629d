// What is kept in a host's repository of the work of guests.
import { ambiguousRef, BangerError } from '../../../core/plugin-api.ts';
import type { Exec } from '../../../core/plugin-api.ts';
import { createGit } from '../host/git.ts';
import type { Repository } from '../host/repository.ts';
import { subjectCounts } from './commits.ts';
import type { Counts } from './commits.ts';
import { namespace, parseRef, refPrefix } from './names.ts';
import type { ByKind, RefKind } from './names.ts';

/** The work of one operation. */
export interface KeptWork extends Counts {
  /** Name the VM had. */
  readonly vm: string;
  readonly operation: string;
  /** RFC 3339. */
  readonly createdAt: string;
  /** Full names. */
  readonly refs: ByKind;
  /** Commits that the refs name. */
  readonly ids: ByKind;
}
export interface ListCall { readonly signal?: AbortSignal }

interface Found { createdAt: number; counts?: Counts; readonly ids: Partial<Record<RefKind, string>> }

/** Kept work of all VMs or of one, newest first. Refs in the namespace that no import made are passed over. @throws bad_request; operation_failed */
export async function listWork(exec: Pick<Exec, 'run'>, repo: Pick<Repository, 'root'>, vm?: string, call: ListCall = {}): Promise<KeptWork[]> {
  const format = '%(refname)%00%(objectname)%00%(committerdate:unix)%00%(contents:subject)';
  const { stdout } = await createGit(exec, repo.root, call).run(['for-each-ref', `--format=${format}`, vm === undefined ? `${namespace}/` : refPrefix(vm)]);
  const found = new Map<string, Found>();
  for (const line of stdout.split('\n')) {
    const [name = '', id = '', time = '', subject = ''] = line.split('\0');
    const ref = parseRef(name);
    if (ref === undefined) continue;
    const key = `${ref.vm}/${ref.operation}`;
    const entry = found.get(key) ?? { createdAt: 0, ids: {} };
    found.set(key, entry);
    entry.ids[ref.kind] = id;
    if (ref.kind !== 'worktree') continue;
    entry.createdAt = Number(time);
    const counts = subjectCounts(subject);
    if (counts !== undefined) entry.counts = counts;
  }
  return [...found].flatMap(([key, entry]) => workOf(key, entry) ?? [])
    .toSorted((a, b) => (a.createdAt === b.createdAt ? (a.operation < b.operation ? 1 : -1) : a.createdAt < b.createdAt ? 1 : -1));
}

function workOf(key: string, { createdAt, counts, ids }: Found): KeptWork | undefined {
  const [vm, operation] = key.split('/') as [string, string];
  const { base, worktree, head, index } = ids;
  if (base === undefined || worktree === undefined || counts === undefined) return undefined;
  const prefix = refPrefix(vm, operation);
  return {
    vm, operation, createdAt: new Date(createdAt * 1000).toISOString(), ...counts,
    ids: { base, worktree, ...(head === undefined ? {} : { head }), ...(index === undefined ? {} : { index }) },
    refs: {
      base: `${prefix}base`, worktree: `${prefix}worktree`,
      ...(head === undefined ? {} : { head: `${prefix}head` }), ...(index === undefined ? {} : { index: `${prefix}index` }),
    },
  };
}

/**
 * One piece of kept work of a VM.
 *
 * @param operation its name or the beginning of one; without it the newest
 * @throws not_found; ambiguous_ref; bad_request; operation_failed
 */
export async function resolveWork(exec: Pick<Exec, 'run'>, repo: Pick<Repository, 'root'>, vm: string, operation?: string): Promise<KeptWork> {
  const all = await listWork(exec, repo, vm);
  const found = operation === undefined ? all.slice(0, 1) : fitting(all, operation);
  if (found.length > 1) throw ambiguousRef('Operation', operation ?? '', found.map((work) => work.operation));
  const [work] = found;
  if (work === undefined) throw nothingKept(repo, vm, operation);
  return work;
}

function fitting<T extends { readonly operation: string }>(all: readonly T[], operation: string): readonly T[] {
  const exact = all.filter((work) => work.operation === operation);
  return exact.length > 0 ? exact : all.filter((work) => operation !== '' && work.operation.startsWith(operation));
}

export const nothingKept = (repo: Pick<Repository, 'root'>, vm: string, operation?: string): BangerError =>
  new BangerError('not_found', `${repo.root} keeps no work of ${vm}${operation === undefined ? '' : ` from operation ${operation}`}`, {
    hint: `banger vm workspace list shows there what it keeps; banger vm workspace pull ${vm} brings work back to where its workspace came from`,
  });
