// The step that gives a VM its host key: before its first boot, for as long as it exists.
import type { Plan, PlanContext, Step } from '../../core/plugin-api.ts';
import { ensureHostKey, hostKeyPath, removeHostKey } from './keys.ts';
import type { KnownHosts } from './known-hosts.ts';

export interface IdentityPlan { readonly [key: string]: string; readonly path: string }

/** The key is known to clients before anything of the VM can answer, so that the first connection is strict like every other. */
export function identityStep(knownHosts: Pick<KnownHosts, 'refresh'>): Step<IdentityPlan, null> {
  return {
    name: 'ssh.identity', phase: 'preflight', lifetime: 'vm', timeoutMs: 10_000,
    plan({ vm }: PlanContext): Plan<IdentityPlan> {
      const path = hostKeyPath(vm);
      return { data: { path }, makes: [`file ${path}`] };
    },
    async run(ctx) {
      await ensureHostKey(ctx.vm);
      await ctx.touched();
      await knownHosts.refresh();
      return null;
    },
    // Safe to run twice: a missing key is no error. A full disk must not keep a VM from going; the row goes with the next write then.
    async undo(ctx) {
      await removeHostKey(ctx.vm);
      await knownHosts.refresh().catch((error: unknown) => ctx.log.warn({ err: error, vm: ctx.vm.name }, 'the file of known host keys is not up to date'));
    },
  };
}
