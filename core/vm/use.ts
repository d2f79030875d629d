// The `VmUse` capability: who uses a VM. In memory only; after a restart of the daemon every VM counts as used just now.
import type { VmUse, Vms } from '../capabilities.ts';
import { systemClock } from '../clock.ts';
import type { Clock } from '../clock.ts';

export interface VmUseCount extends VmUse {
  /** Milliseconds since the last use, 0 while it is held. By a clock that stands still while the host sleeps: nobody could use a VM then. */
  unusedMs(id: string): number;
}
interface Use { lastMs: number; readonly holds: Map<symbol, string> }

export function createVmUse(vms: Pick<Vms, 'onChange'>, clock: Clock = systemClock): VmUseCount {
  const uses = new Map<string, Use>();
  const beganMs = clock.monotonicMs();
  const touch = (id: string): Use => {
    const use = uses.get(id) ?? { lastMs: 0, holds: new Map<symbol, string>() };
    use.lastMs = clock.monotonicMs();
    uses.set(id, use);
    return use;
  };
  const unusedMs = (id: string): number => {
    const use = uses.get(id);
    return use !== undefined && use.holds.size > 0 ? 0 : clock.monotonicMs() - (use?.lastMs ?? beganMs);
  };
  vms.onChange(({ kind, vm }) => {
    if (kind === 'started') touch(vm.id);
    else if (kind === 'deleted') uses.delete(vm.id);
  });
  return {
    touch: (id) => void touch(id),
    hold(id, what) {
      const hold = Symbol(what);
      const use = touch(id);
      use.holds.set(hold, what);
      return () => {
        if (use.holds.delete(hold)) use.lastMs = clock.monotonicMs();
      };
    },
    of: (id) => ({ lastUsedAt: clock.now() - unusedMs(id), holds: [...uses.get(id)?.holds.values() ?? []] }),
    unusedMs,
  };
}
