// References of a verb that takes any number of them, and without one every VM.
import type { CommandContext } from '../command.ts';
import { exitCodeOf, renderError } from '../errors.ts';
import { resolveRefs } from '../refs.ts';

export interface Wanted {
  /** Undefined: every VM. */
  readonly refs?: readonly string[];
  /** 0, or that of the last reference which fits no VM; each has been told of. */
  readonly code: number;
}

export async function wantedVms({ args, daemon, io }: CommandContext): Promise<Wanted> {
  if (args.length === 0) return { code: 0 };
  const { vms } = await (await daemon()).call('vm.list', {}, { read: true });
  const refs: string[] = [];
  let code = 0;
  for (const resolved of resolveRefs(args, vms)) {
    if ('vm' in resolved) refs.push(resolved.vm.id);
    else {
      io.err(renderError(resolved.error, io));
      code = exitCodeOf(resolved.error);
    }
  }
  return { refs, code };
}
