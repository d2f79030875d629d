// The last that is known of a running VM. In memory; figures change by `measure` and by the guest's answers.
import { statSync } from 'node:fs';
import type { VmDiskFigures, VmGuestFigures, VmHostFigures } from '../../core/api.ts';
import type { ProcessIdentity, Vm } from '../../core/plugin-api.ts';
import type { DiskFile } from '../disks/capability.ts';
import type { GuestFigures } from './guest/stat.ts';
import { readVmm } from './host/vmm.ts';
import { Rate } from './rate.ts';

/** Figures of a run of a VM, as they are kept after its end. */
export interface Figures {
  /** Milliseconds since the epoch. */
  readonly atMs: number;
  /** When the guest told `guest` and `network`. */
  readonly guestAtMs?: number;
  readonly host?: VmHostFigures;
  readonly guest?: VmGuestFigures;
  readonly network?: { readonly rxBytes: number; readonly txBytes: number };
  readonly uptimeSeconds?: number;
}
/** A clock that goes on and one that people read. */
export interface Times { now(): number; monotonicMs(): number }

export class WatchedVm {
  readonly vm: Vm;
  readonly process: ProcessIdentity;
  /** Why the guest's figures are not here; `undefined` once it answers. */
  problem: string | undefined = 'its guest has not been asked yet';
  /** Questions in a row that brought no figures. */
  failures = 0;
  /** Of the VMM's process, by somebody's signal. */
  isStopped = false;
  savedAtMs: number;
  #figures: Figures;
  #disks: readonly DiskFile[] = [];
  readonly #times: Times;
  readonly #hostRate = new Rate();
  readonly #guestRate = new Rate();

  constructor(vm: Vm, process: ProcessIdentity, times: Times) {
    this.vm = vm;
    this.process = process;
    this.#times = times;
    this.#figures = { atMs: times.now() };
    // Spread over the minute: the files of a thousand VMs are not all written at once.
    this.savedAtMs = times.now() - (Number.parseInt(vm.id.slice(-4), 16) % 60_000);
  }

  get figures(): Figures {
    return this.#figures;
  }
  set disks(files: readonly DiskFile[]) {
    this.#disks = files;
  }
  get disks(): readonly VmDiskFigures[] {
    return allocated(this.#disks);
  }

  /** Reads the VMM's figures. false: the process is gone. */
  measure(hostUptimeSeconds?: number): boolean {
    const vmm = readVmm(this.process, hostUptimeSeconds);
    if (vmm === undefined) return false;
    const cpuPercent = this.#hostRate.add(this.#times.monotonicMs(), vmm.cpuSeconds);
    this.isStopped = vmm.isStopped;
    this.#figures = {
      ...this.#figures, atMs: this.#times.now(), uptimeSeconds: vmm.uptimeSeconds,
      host: { cpuSeconds: vmm.cpuSeconds, ...(cpuPercent === undefined ? {} : { cpuPercent }), rssBytes: vmm.rssBytes, threads: vmm.threads },
    };
    return true;
  }

  answered({ bootedAtMs: _booted, network, ...guest }: GuestFigures): void {
    const cpuPercent = this.#guestPercent(guest.cpu);
    const { network: _before, ...rest } = this.#figures;
    this.#figures = { ...rest, guestAtMs: this.#times.now(), guest: { ...guest, ...(cpuPercent === undefined ? {} : { cpuPercent }) }, ...(network === undefined ? {} : { network }) };
    this.problem = undefined;
    this.failures = 0;
  }

  /**
   * Of the time that the guest itself has counted, as `top` in it does: what the host did not give it on a busy day is neither work nor rest. Its
   * counters are its own word; more than all of its CPUs it cannot have used.
   */
  #guestPercent(cpu: GuestFigures['cpu']): number | undefined {
    if (cpu === undefined) return undefined;
    const { vcpu } = this.vm.spec;
    const countedMs = (1000 * (cpu.busySeconds + cpu.idleSeconds + cpu.stolenSeconds)) / vcpu;
    const percent = this.#guestRate.add(countedMs, cpu.busySeconds);
    return percent === undefined ? undefined : Math.min(percent, 100 * vcpu);
  }

  /** The question brought nothing, or no answer in time. */
  failed(problem: string): void {
    this.problem = problem;
    this.failures += 1;
  }
}

/** What files take on the host; those that are gone, or cannot be looked at, are left out. */
export function allocated(files: readonly DiskFile[]): readonly VmDiskFigures[] {
  return files.flatMap(({ id, path, virtualBytes }) => {
    const blocks = blocksOf(path);
    // stat(2): blocks of 512 bytes, whatever the file system's own are.
    return blocks === undefined ? [] : [{ id, allocatedBytes: blocks * 512, virtualBytes }];
  });
}

function blocksOf(path: string): number | undefined {
  try {
    return statSync(path, { throwIfNoEntry: false })?.blocks;
  } catch {
    return undefined; // a file system in trouble: one disk must not hide what is known of all VMs
  }
}
