// Many references, one snapshot: resolved together, merged, handled at once, shown in the order they were first named.
import { ambiguousRef, notFound } from '../core/errors.ts';
import type { VmView } from '../core/api.ts';
import type { CommandContext } from './command.ts';
import { exitCodeOf, renderError } from './errors.ts';

type Target = Pick<VmView, 'id' | 'name'>;
export type Resolved = { readonly vm: VmView } | { readonly error: Error };

/** Exact id, exact name, then the unique beginning of either. */
export function resolveRef(ref: string, vms: readonly VmView[]): Resolved {
  const exact = vms.find((vm) => vm.id === ref) ?? vms.find((vm) => vm.name === ref);
  if (exact) return { vm: exact };
  const near = ref === '' ? [] : vms.filter((vm) => vm.id.startsWith(ref) || vm.name.startsWith(ref));
  if (near.length === 1) return { vm: near[0]! };
  return { error: near.length === 0 ? notFound('VM', ref) : ambiguousRef('VM', ref, near.map((vm) => vm.name)) };
}

/** Its VMM is there: it runs, or it is paused. */
export const isUp = ({ state }: Pick<VmView, 'state'>): boolean => state === 'running' || state === 'paused';

/** One entry a VM, in the order first named; references to the same VM are merged. */
export function resolveRefs(refs: readonly string[], vms: readonly VmView[]): Resolved[] {
  const seen = new Set<string>();
  const result: Resolved[] = [];
  for (const ref of refs) {
    const resolved = resolveRef(ref, vms);
    const key = 'vm' in resolved ? resolved.vm.id : `missing ${ref}`;
    if (!seen.has(key)) result.push(resolved);
    seen.add(key);
  }
  return result;
}

export interface Outcome { readonly text?: string; readonly error?: unknown }

/** Prints outcomes in order as far as they are known; the exit code is the first failure's kind, 1 in general. */
export async function printInOrder(ctx: CommandContext, outcomes: readonly Promise<Outcome>[]): Promise<number> {
  let failures = 0;
  let code = 0;
  for (const pending of outcomes) {
    const outcome = await pending;
    if (outcome.error === undefined) {
      if (outcome.text !== undefined) ctx.io.out(outcome.text);
      continue;
    }
    failures += 1;
    ctx.io.err(renderError(outcome.error, ctx.io));
    code = exitCodeOf(outcome.error);
  }
  return failures > 1 || outcomes.length > 1 ? Math.min(failures, 1) : code;
}

/** Does one thing to every VM named, all at once; answers the exit code. `work` answers the line to print. */
export async function forEachRef(ctx: CommandContext, work: (vm: Target) => Promise<string>): Promise<number> {
  const daemon = await ctx.daemon();
  const { vms } = await daemon.call('vm.list', {}, { read: true });
  const outcomes = resolveRefs(ctx.args, vms).map(async (resolved): Promise<Outcome> => {
    if ('error' in resolved) return { error: resolved.error };
    try {
      return { text: await work(resolved.vm) };
    } catch (error) {
      return { error };
    }
  });
  return printInOrder(ctx, outcomes);
}
