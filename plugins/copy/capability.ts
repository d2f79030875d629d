// PUBLIC: what this plugin gives others.
import { capability } from '../../core/plugin-api.ts';
import type { Logger, Vm } from '../../core/plugin-api.ts';

export interface SendFiles {
  /** A file of records `<n>/<path>`, each ended by a NUL, in the order in which they must land: path `path` below `bases[n]` (native/copy/README.md, `--list`). */
  readonly listFile: string;
  /** Directories of this host. */
  readonly bases: readonly string[];
  /** A directory of the guest, made when it is missing; its parent must be there. */
  readonly guestPath: string;
}
export interface SendFilesContext {
  readonly signal: AbortSignal;
  readonly opId: string;
  readonly log: Logger;
  /** A few times a second: bytes of the stream so far, and the entry it is at (escaped). */
  onProgress?(bytes: number, name: string): void;
}
export interface SentFiles {
  /** A line for each thing that was left out, `host: ...` or `guest: ...`, bounded in number and length, safe to show. Empty: all of it is there. */
  readonly notes: readonly string[];
  /** This host's end left something out: a file that is gone, changed while it was read, or cannot be read. */
  readonly hostPartial: boolean;
  /** The guest left something out: a link or a directory of its own is in the way. */
  readonly guestPartial: boolean;
}
export interface GuestFiles {
  /**
   * Sends files of this host into a running VM, as root's there, over the VM's port for bulk data. It waits for a copy that has the port, 10 minutes at
   * most. Each file appears whole; when it fails, those that came before stay, and an absent `guestPath` stays absent.
   *
   * @throws unsupported for a VM without that port, or an older agent; operation_failed when an end refuses; timeout when the guest stands still;
   * cancelled
   */
  send(vm: Vm, request: SendFiles, ctx: SendFilesContext): Promise<SentFiles>;
}
export const GuestFiles = capability<GuestFiles>('guest-files@1');
