// PUBLIC: which files of the host a VM's disks are.
import { capability } from '../../core/plugin-api.ts';
import type { Vm } from '../../core/plugin-api.ts';

export interface DiskFile {
  /** That of the drive: `root`, `work`. */
  readonly id: string;
  readonly path: string;
  /** What the guest sees; the file takes what has been written. */
  readonly virtualBytes: number;
}
export interface DiskFiles {
  /** Those that are there, the root disk first; none before the first start. A file that is damaged is left out. */
  files(vm: Vm): Promise<readonly DiskFile[]>;
}
export const DiskFiles = capability<DiskFiles>('disk-files@1');
