// Names of what is kept in a host's repository: refs/banger/<vm>/<operation>/{base,head,index,worktree}.
import { badRequest } from '../../../core/plugin-api.ts';
import type { Repository } from '../host/repository.ts';

export const namespace = 'refs/banger';

/** In the order they are made: where `worktree` is, the others are too. */
export const refKinds = ['base', 'head', 'index', 'worktree'] as const;
export type RefKind = (typeof refKinds)[number];
/** Values of the refs that one operation has: full names, or object ids. */
export interface ByKind { readonly base: string; readonly head?: string; readonly index?: string; readonly worktree: string }

const word = /^[a-z0-9](?:[a-z0-9-]{0,126}[a-z0-9])?$/;

/** Nothing but a plain word becomes a part of a ref's name. @throws bad_request */
export function requireWord(what: 'vm' | 'operation', value: string): string {
  if (!word.test(value)) throw badRequest([{ path: what, message: 'must be a word of small letters, digits and dashes' }]);
  return value;
}

/** Beginning of the refs of a VM, or of one operation of it; ends with a slash. */
export function refPrefix(vm: string, operation?: string): string {
  const own = `${namespace}/${requireWord('vm', vm)}/`;
  return operation === undefined ? own : `${own}${requireWord('operation', operation)}/`;
}

/** The parts of a ref's name; undefined for a ref that is not ours. */
export function parseRef(name: string): { readonly vm: string; readonly operation: string; readonly kind: RefKind } | undefined {
  const [refs, banger, vm, operation, kind, ...rest] = name.split('/');
  if (`${refs}/${banger}` !== namespace || rest.length > 0 || vm === undefined || operation === undefined) return undefined;
  const known = refKinds.find((each) => each === kind);
  return known !== undefined && word.test(vm) && word.test(operation) ? { vm, operation, kind: known } : undefined;
}

/** Whether a text is an object's whole name in the repository's format. */
export function isObjectId(repo: Pick<Repository, 'objectFormat'>, id: string): boolean {
  return repo.objectFormat === 'sha256' ? /^[0-9a-f]{64}$/.test(id) : /^[0-9a-f]{40}$/.test(id);
}
