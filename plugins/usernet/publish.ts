// Step `usernet.publish` and the live change by `vm set --publish`.
import type { Change, HostInfo, Step, UndoContext, Vm, Vms, VmSpec } from '../../core/plugin-api.ts';
import { wrongState } from '../../core/plugin-api.ts';
import { loopbackAddress } from './address.ts';
import type { Forwards, PublishedPort } from './forwards.ts';
import { rulesOf, sectionOf } from './schema.ts';

export interface PublishDeps { readonly host: HostInfo; readonly forwards: Forwards; readonly vms: Pick<Vms, 'note'> }
export type PublishPlan = { readonly listeners: readonly string[] };

/** The listeners a spec asks for. */
export function forwardsOf(host: HostInfo, vm: Vm, spec: VmSpec): PublishedPort[] {
  const own = loopbackAddress(host, vm);
  return rulesOf(sectionOf(spec.sections)).map(({ address, hostPort, guestPort }) => ({ address: address ?? own, hostPort, guestPort }));
}

export function publishStep({ host, forwards, vms }: PublishDeps): Step<PublishPlan, null> {
  return {
    name: 'usernet.publish', phase: 'publish', timeoutMs: 5000,
    // Also for a VM that publishes nothing: `vm set` may add ports while it runs, and their end must be in the ledger.
    plan({ vm }) {
      const listeners = forwardsOf(host, vm, vm.spec).map((f) => `${f.address}:${f.hostPort}`);
      return { data: { listeners }, makes: listeners.map((listener) => `listener ${listener}`) };
    },
    async run(ctx) {
      await forwards.replace(ctx.vm, forwardsOf(host, ctx.vm, ctx.vm.spec));
      await ctx.touched();
      return null;
    },
    // Safe twice: closing what is closed does nothing, and listeners end with the daemon anyway.
    undo: async (ctx) => forwards.closeVm(ctx.vm.id),
    // From the spec, not the plan: `vm set` may have changed it since.
    async adopt({ vm, log }) {
      const problems = await publishWhatCanBe(forwards, vm, forwardsOf(host, vm, vm.spec));
      if (problems.length === 0) return;
      log.warn({ vm: vm.name, problems }, 'published ports cannot be had again');
      vms.note(vm.id, `not published: ${problems.join('; ')}; banger vm restart tries again`);
    },
  };
}

/** A port that somebody took while no daemon ran is no reason to lose the others. Why each of these could not be had. */
async function publishWhatCanBe(forwards: Forwards, vm: Vm, wanted: readonly PublishedPort[]): Promise<string[]> {
  const had: PublishedPort[] = [];
  const problems: string[] = [];
  for (const port of wanted) {
    try {
      await forwards.replace(vm, [...had, port]);
      had.push(port);
    } catch (error) {
      problems.push(error instanceof Error ? error.message : 'internal error');
    }
  }
  // With nothing to publish, too: other ports can be forwarded from now on.
  if (had.length === 0) await forwards.replace(vm, []);
  return problems;
}

/** Applies a changed section to a running VM. @throws wrong_state when the kind of network changes; busy for a taken port */
export function reconfigurePublish({ host, forwards }: Pick<PublishDeps, 'host' | 'forwards'>) {
  return async (vm: Vm, change: Change, _ctx: UndoContext): Promise<void> => {
    if (!change.running) return;
    if (sectionOf(change.before.sections).network !== sectionOf(change.after.sections).network) {
      throw wrongState(vm.name, 'running', 'stopped, which a change of --network needs');
    }
    await forwards.replace(vm, forwardsOf(host, vm, change.after));
  };
}
