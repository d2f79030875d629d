// The `GuestListeners` capability, on the agent's own program.
import type { GuestAgent, HostInfo } from '../../../core/plugin-api.ts';
import type { GuestListeners } from '../capability.ts';
import { listListeners, watchListeners } from '../guest/ports.ts';

/** The guest's answer, and a watch's first one, which may have to wait for the agent's session; before `slowdown`. */
const limits = { listMs: 5000, firstMs: 15_000 } as const;

export function createGuestListeners(agent: Pick<GuestAgent, 'exec'>, host: Pick<HostInfo, 'slowdown'>): GuestListeners {
  return {
    list: (vm, signal) => listListeners(agent, vm, { signal, limitMs: limits.listMs * host.slowdown }),
    watch: (vm, onChange, signal) => watchListeners(agent, vm, { signal, onChange, limitMs: limits.firstMs * host.slowdown }),
  };
}
