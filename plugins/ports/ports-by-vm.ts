// The ports of all running VMs, and the step that begins and ends them.
import type { Change, Logger, Step, UndoContext, Vm } from '../../core/plugin-api.ts';
import { addedPath, removeAdded } from './added-file.ts';
import { sectionOf } from './schema.ts';
import { VmPorts } from './vm-ports.ts';
import type { VmPortsDeps } from './vm-ports.ts';

export type PortsPlan = { readonly file: string };
export interface PortsByVm {
  readonly step: Step<PortsPlan, null>;
  get(vmId: string): VmPorts | undefined;
  /** Applies a changed section to a running VM. */
  reconfigure(vm: Vm, change: Change, ctx: UndoContext): Promise<void>;
  /** The published ports of a VM have changed. */
  again(vmId: string): void;
  closeAll(): Promise<void>;
}

export function createPortsByVm(deps: VmPortsDeps & { readonly log: Logger }): PortsByVm {
  const all = new Map<string, VmPorts>();
  const end = async (vmId: string): Promise<void> => {
    const ports = all.get(vmId);
    all.delete(vmId);
    await ports?.end();
  };
  const begin = async (vm: Vm): Promise<VmPorts> => {
    await end(vm.id);
    const ports = new VmPorts(deps, vm, { auto: sectionOf(vm.spec.sections).auto });
    all.set(vm.id, ports);
    return ports;
  };
  return {
    get: (vmId) => all.get(vmId),
    again: (vmId) => all.get(vmId)?.again(),
    closeAll: async () => { await Promise.all([...all.keys()].map(end)); },
    async reconfigure(vm, change) {
      if (change.running) await all.get(vm.id)?.setAuto(sectionOf(change.after.sections).auto);
    },
    step: {
      name: 'ports.forwards', phase: 'publish', timeoutMs: 5000,
      // For every VM: ports may be added to each, and their end must be in the ledger.
      plan: ({ vm }) => ({
        data: { file: addedPath(vm) },
        makes: [sectionOf(vm.spec.sections).auto ? `listeners on ${deps.address(vm)} for ports that open in the guest` : `listeners on ${deps.address(vm)} for ports that are added`],
      }),
      async run(ctx) {
        await begin(ctx.vm);
        await ctx.touched();
        return null;
      },
      // Safe twice: listeners end with the daemon anyway, and a file that is not there needs no removing.
      async undo(ctx) {
        await end(ctx.vm.id);
        await removeAdded(ctx.vm);
      },
      async adopt(ctx) {
        await (await begin(ctx.vm)).restore();
      },
    },
  };
}
