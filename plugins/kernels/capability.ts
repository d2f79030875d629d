// PUBLIC: how other plugins add kernel sources, and the archive writer for initrds.
import { capability } from '../../core/plugin-api.ts';
import type { EnsureContext } from '../../core/plugin-api.ts';

export { writeCpio } from './cpio.ts';
export type { CpioEntry } from './cpio.ts';

/** Context of one fetch: its processes bear `mark`, so that they are found after a crash. */
export interface KernelFetchContext extends EnsureContext {
  readonly mark: string;
  /** An empty directory outside every home, passable for other uids; removed afterwards. */
  readonly scratch: string;
}

export interface FetchedKernel {
  /** A bzImage below `scratch`. */
  readonly imagePath: string;
  /** Directory searched for the modules a virtio guest needs (`*.ko`, `*.ko.xz`). What is not found counts as built in. */
  readonly modulesDir: string;
  /** Kernel release, as `uname -r` says it. */
  readonly version: string;
  /** For people: the package's file name. */
  readonly source: string;
}

/** Gets kernels by references of its kind. Asked in plugin order; the first that knows a reference gets it. */
export interface KernelSource {
  /** `undefined`: not a reference of this source. No network. */
  knows(ref: string): Promise<{ readonly name: string } | undefined>;
  /** Never two at once for one name. @throws missing_requirement, operation_failed, cancelled */
  fetch(ref: string, ctx: KernelFetchContext): Promise<FetchedKernel>;
}
export const KernelSource = capability<KernelSource>('kernel-source@1', 'many');
