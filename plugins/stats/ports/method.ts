// vm.ports: what listens in guests, and the way there from this host.
import { isBangerError } from '../../../core/plugin-api.ts';
import type { GuestAgent, HostInfo, RpcMethod, Vm, Vms } from '../../../core/plugin-api.ts';
import type { PortForwards } from '../../usernet/capability.ts';
import type { z } from 'zod';
import type { GuestListeners } from '../capability.ts';
import { probeScheme } from './probe.ts';
import { forwardOf, portRows } from './rows.ts';
import type { PortRow } from './schema.ts';
import { portsParams, portsResult } from './schema.ts';

export interface PortsDeps {
  readonly vms: Pick<Vms, 'running' | 'resolve' | 'list' | 'isRunning'>;
  readonly agent: Pick<GuestAgent, 'dial'>;
  readonly host: Pick<HostInfo, 'slowdown'>;
  readonly listeners: Pick<GuestListeners, 'list'>;
  /** Absent: nothing forwards. */
  readonly forwards: PortForwards | undefined;
  /** Of one probe and of all of a VM's, before `slowdown`. @default 1000, 5000 */
  readonly limits?: { readonly probeMs: number; readonly allMs: number };
}
type Entry = z.input<typeof portsResult>['vms'][number];

/** Probes of one VM at a time. */
const atOnce = 4;
const defaultLimits = { probeMs: 1000, allMs: 5000 } as const;

export function portsMethod(deps: PortsDeps): RpcMethod<typeof portsParams, typeof portsResult> {
  const { vms } = deps;
  return {
    summary: 'What listens in the guests of running VMs, with an endpoint that works from this host or why there is none', effect: 'read',
    params: portsParams, result: portsResult, errors: ['not_found', 'ambiguous_ref'],
    async handler({ refs, probe }, call) {
      const asked = refs === undefined ? vms.list().filter((vm) => vms.isRunning(vm.id)) : refs.map((ref) => vms.resolve(ref));
      const wanted = [...new Map(asked.map((vm) => [vm.id, vm])).values()];
      return { vms: await Promise.all(wanted.map((vm) => portsOf(deps, vm, { probe: probe ?? true, signal: call.signal }))) };
    },
  };
}

async function portsOf(deps: PortsDeps, vm: Vm, { probe, signal }: { readonly probe: boolean; readonly signal: AbortSignal }): Promise<Entry> {
  const name = { id: vm.id, name: vm.name };
  try {
    await deps.vms.running(vm.id, signal);
    const snapshot = await deps.listeners.list(vm, signal);
    const rows = portRows(snapshot, { name: vm.name, forwards: deps.forwards?.list(vm) ?? [], unforwarded: deps.forwards?.unforwarded(vm) ?? [] });
    if (probe) await addUrls(deps, vm, rows, signal);
    return { vm: name, ports: rows, more: snapshot.more };
  } catch (error) {
    if (!isBangerError(error) || signal.aborted) throw error;
    return { vm: name, ports: [], more: 0, error: { code: error.code, message: error.message, ...(error.hint === undefined ? {} : { hint: error.hint }) } };
  }
}

/** Of forwarded TCP ports alone: a link to nowhere helps nobody. */
async function addUrls({ agent, forwards, host, limits = defaultLimits }: PortsDeps, vm: Vm, rows: readonly PortRow[], signal: AbortSignal): Promise<void> {
  const all = AbortSignal.any([signal, AbortSignal.timeout(limits.allMs * host.slowdown)]);
  const known = forwards?.list(vm) ?? [];
  const queue = rows.filter((row) => row.protocol === 'tcp' && row.endpoint !== undefined).values();
  const worker = async (): Promise<void> => {
    for (const row of queue) {
      if (all.aborted) return;
      const target = { host: forwardOf(row, known)?.guestHost ?? 'localhost', port: row.port };
      const scheme = await probeScheme((limit) => agent.dial(vm, target, limit), AbortSignal.any([all, AbortSignal.timeout(limits.probeMs * host.slowdown)]));
      if (scheme !== undefined) row.url = `${scheme}://${row.endpoint}/`;
    }
  };
  await Promise.all(Array.from({ length: atOnce }, worker));
}
