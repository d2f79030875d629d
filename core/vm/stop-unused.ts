// Ends a VM that nobody uses. The capability is there before the service that fills it: plugins are set up first.
import type { VmTeardown } from '../capabilities.ts';
import { cancelled, isBangerError } from '../errors.ts';
import { backgroundScope } from '../lifecycle/scope.ts';
import { keepTrack, liveProcess } from './context.ts';
import type { VmContext } from './context.ts';
import { keptWithin } from './exec-kept.ts';
import { stopLocked } from './stop.ts';

export interface LateTeardown extends VmTeardown {
  /** Once, by the service. Until then every VM counts as in use. */
  serve(stopUnused: VmTeardown['stopUnused']): void;
}
export function createTeardown(): LateTeardown {
  let serving: VmTeardown['stopUnused'] = () => Promise.resolve('in use');
  return {
    stopUnused: (id, options) => serving(id, options),
    serve(stopUnused) { serving = stopUnused; },
  };
}

type Options = Parameters<VmTeardown['stopUnused']>[1];

/** @throws undo_failed; cancelled */
export async function stopUnused(ctx: VmContext, id: string, { unusedForMs, signal }: Options): Promise<'stopped' | 'in use' | 'not running'> {
  const isUsed = (): boolean => ctx.use.of(id).holds.length > 0 || ctx.use.unusedMs(id) < unusedForMs;
  const asked = ctx.store.vms.get(id);
  if (asked === undefined || !isUp(ctx, id)) return 'not running';
  // Asked before the lock is taken: no other verb waits for a guest. A command that is detached from now on is a use of its own.
  // The end of one counts as that of any command does: whoever comes for what it made finds the VM.
  if (isUsed() || ctx.locks.holder(id) !== undefined || await keptWithin(ctx, ctx.toVm(asked), { withinMs: unusedForMs, signal })) return 'in use';
  if (signal.aborted) throw cancelled(`The stop of VM ${asked.name}`);
  const release = await ctx.locks.acquire(id, { holder: 'stop of an unused VM', waitMs: 0 }).catch((error: unknown) => {
    if (isBangerError(error) && error.code === 'busy') return undefined;
    throw error;
  });
  if (release === undefined) return 'in use';
  const stop = async (): Promise<'stopped' | 'in use' | 'not running'> => {
    const record = ctx.store.vms.get(id);
    if (record === undefined || !isUp(ctx, id)) return 'not running';
    if (isUsed()) return 'in use';
    const scope = backgroundScope(ctx.log);
    scope.log.debug({ vm: record.name, unusedMs: Math.round(ctx.use.unusedMs(id)) }, 'stopping a VM that nobody uses');
    await stopLocked(ctx, record, scope, () => ({ reason: 'unused', detail: [`for ${timeText(unusedForMs)}`] }));
    return 'stopped';
  };
  const stopped = stop().finally(release);
  void keepTrack(ctx, stopped.then(() => undefined, () => undefined));
  return stopped;
}

function isUp(ctx: VmContext, id: string): boolean {
  return ctx.store.vms.get(id)?.published === true && liveProcess(ctx, id) !== undefined;
}

function timeText(ms: number): string {
  const minutes = Math.floor(ms / 60_000);
  return minutes < 2 ? `${Math.round(ms / 1000)} s` : minutes < 120 ? `${minutes} min` : `${Math.floor(minutes / 60)} h`;
}
