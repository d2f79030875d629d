// What other plugins may know of the QEMU driver. VMs are controlled through `VmmDriver` of core; nothing else is offered.
import type { ProcessIdentity } from '../../core/plugin-api.ts';

/** Name of the driver in `VmSpec.driver`. */
export const qemuDriverName = 'qemu';

/** A mapped copy: an interface is not assignable to `Json`, a type alias is. */
type StoredIdentity = Pick<ProcessIdentity, keyof ProcessIdentity>;

/** Handle of the step `qemu.boot`. */
export type QemuHandle = {
  /** The VMM itself; its life is the VM's. */
  readonly process: StoredIdentity;
  /** Our supervisor of the VMM: keeps the console log bounded, records the VMM's exit. */
  readonly shim: StoredIdentity;
  /** Counter of the out-of-memory kills in the VMM's memory cgroup at its start, where there is one. Not in handles of versions before it. */
  readonly oom?: { readonly file: string; readonly count: number };
};
