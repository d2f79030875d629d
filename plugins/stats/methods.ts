// vm.stats, vm.health, vm.ping and stats.metrics.
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { z } from 'zod';
import type { RpcMethod, Vm, Vms } from '../../core/plugin-api.ts';
import { healthOf, pingOf } from './health.ts';
import { healthResult, metricsResult, pingResult, refsParams, statsParams, statsResult } from './schema.ts';
import { statsOf } from './view.ts';
import type { ViewDeps } from './view.ts';

export interface StatsMethodsDeps extends ViewDeps {
  readonly vms: Pick<Vms, 'list' | 'resolve' | 'isPaused'>;
  metrics(): Promise<string>;
}
type Method<P extends z.ZodType, R extends z.ZodType> = RpcMethod<P, R>;
export interface StatsMethods {
  readonly 'vm.stats': Method<typeof statsParams, typeof statsResult>;
  readonly 'vm.health': Method<typeof refsParams, typeof healthResult>;
  readonly 'vm.ping': Method<typeof refsParams, typeof pingResult>;
  readonly 'stats.metrics': Method<z.ZodObject, typeof metricsResult>;
}

export function statsMethods(deps: StatsMethodsDeps): StatsMethods {
  const errors = ['not_found', 'ambiguous_ref'];
  return {
    'vm.stats': {
      summary: 'Figures of VMs; one whose guest does not answer has a problem in their place', effect: 'read', params: statsParams, result: statsResult, errors,
      handler: async ({ refs, wait }) => ({ stats: await forEach(deps, refs, (vm) => statsOf(deps, vm, wait ?? true)) }),
    },
    'vm.health': {
      summary: 'Whether the guest agents of VMs answer, and why not', effect: 'read', params: refsParams, result: healthResult, errors,
      handler: async ({ refs }) => ({ health: await forEach(deps, refs, (vm) => healthOf(deps, vm)) }),
    },
    'vm.ping': {
      summary: 'Whether the guest agents of VMs answer, in short', effect: 'read', params: refsParams, result: pingResult, errors,
      handler: async ({ refs }) => ({ pings: await forEach(deps, refs, (vm) => pingOf(deps, vm)) }),
    },
    'stats.metrics': {
      summary: 'The last figures of every VM as OpenMetrics text', effect: 'read', params: refsParams.pick({}), result: metricsResult,
      handler: async () => ({ text: await deps.metrics() }),
    },
  };
}

/** VMs begun before the event loop has its turn. */
const batch = 16;

/** All at once, in the order asked for, each VM once. Those that did not answer the last time are begun last: they may hold room that others need. */
async function forEach<T>({ vms, watch }: StatsMethodsDeps, refs: readonly string[] | undefined, work: (vm: Vm) => Promise<T>): Promise<T[]> {
  const asked = refs === undefined ? vms.list() : refs.map((ref) => vms.resolve(ref));
  const wanted = [...new Map(asked.map((vm) => [vm.id, vm])).values()];
  const failuresOf = (vm: Vm): number => watch.known(vm.id)?.failures ?? 0;
  const results = new Map<string, Promise<T>>();
  for (const [n, vm] of wanted.toSorted((a, b) => failuresOf(a) - failuresOf(b)).entries()) {
    if (n % batch === batch - 1) await nextTurn();
    results.set(vm.id, work(vm));
  }
  return Promise.all(wanted.map((vm) => results.get(vm.id)!));
}
