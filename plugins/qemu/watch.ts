// What QEMU tells while a VM runs: that it ends, that it is paused, a full host disk. One control connection for each VM.
// Why it ended is told by what it leaves, for whoever comes to clear it (ended.ts).
import { setTimeout as delay } from 'node:timers/promises';
import type { Logger, Vm, Vms } from '../../core/plugin-api.ts';
import { connectQmp } from './qmp.ts';
import type { QmpClient, QmpEvent } from './qmp.ts';

export interface Watcher {
  /** Connects and watches until the VMM is gone. A second call for the same VM takes over. */
  attach(vm: Vm, socket: string, options: { readonly timeoutMs: number; readonly signal?: AbortSignal }): Promise<QmpClient>;
  /** As `attach`, for a VMM that is there already: one that does not answer now is tried again until it does or the VM is let go. */
  adopt(vm: Vm, socket: string, options: { readonly timeoutMs: number; readonly signal?: AbortSignal }): Promise<QmpClient>;
  client(vmId: string): QmpClient | undefined;
  /** Hands the connection over; its end is not reported any more. */
  release(vmId: string): QmpClient | undefined;
  /** Lets go without reporting an end: the step is being undone, or the daemon closes. */
  detach(vmId: string): void;
  detachAll(): void;
  /** Whether the VMM that is or was watched last told of a full host disk. */
  isDiskFull(vmId: string): boolean;
}

/** Makes the watcher of all VMs of this driver. `retryMs`: pause between tries to adopt. */
export function createWatcher(vms: Vms, log: Logger, { retryMs = 2_000 }: { readonly retryMs?: number } = {}): Watcher {
  const watched = new Map<string, { client: QmpClient }>();
  const fullDisks = new Set<string>();
  const tries = new Map<string, AbortController>();
  const stopTrying = (vmId: string): void => {
    tries.get(vmId)?.abort();
    tries.delete(vmId);
  };
  const detach = (vmId: string): void => {
    stopTrying(vmId);
    const entry = watched.get(vmId);
    watched.delete(vmId);
    entry?.client.close();
  };
  const watch: Watcher['attach'] = async (vm, socket, options) => {
    const report = new Reporter(vm, { vms, log, onDiskFull: () => fullDisks.add(vm.id) });
    const client = await connectQmp(socket, { ...options, onEvent: (event) => report.receive(event) });
    const entry = { client };
    watched.set(vm.id, entry);
    client.onClose(() => {
      // Only the connection in the table speaks for the VM: a detached one ends without meaning.
      if (watched.get(vm.id) !== entry) return;
      watched.delete(vm.id);
      vms.ended(vm.id, 'unknown');
    });
    return client;
  };
  /** A VMM from before this daemon: its last word about a pause went to nobody. @throws timeout; operation_failed */
  const watchAgain: Watcher['attach'] = async (vm, socket, options) => {
    const client = await watch(vm, socket, options);
    try {
      const { status } = await client.execute('query-status', {}, { timeoutMs: options.timeoutMs }) as { readonly status?: unknown };
      if (status === 'paused') vms.paused(vm.id, true);
      return client;
    } catch (error) {
      if (watched.get(vm.id)?.client === client) watched.delete(vm.id);
      client.close();
      throw error;
    }
  };
  const keepTrying = async (vm: Vm, socket: string, timeoutMs: number): Promise<void> => {
    const control = new AbortController();
    const { signal } = control;
    tries.set(vm.id, control);
    while (!signal.aborted) {
      try {
        await delay(retryMs, undefined, { signal, ref: false });
        // It may have been let go of while the first try was still under way.
        if (!vms.isRunning(vm.id)) return stopTrying(vm.id);
        await watchAgain(vm, socket, { timeoutMs, signal });
        if (signal.aborted) detach(vm.id);
        return stopTrying(vm.id);
      } catch (error) {
        log.debug({ vm: vm.name, err: error }, 'the VMM does not answer yet');
      }
    }
  };
  return {
    attach(vm, socket, options) {
      detach(vm.id);
      fullDisks.delete(vm.id);
      return watch(vm, socket, options);
    },
    async adopt(vm, socket, options) {
      detach(vm.id);
      try {
        return await watchAgain(vm, socket, options);
      } catch (error) {
        void keepTrying(vm, socket, options.timeoutMs);
        throw error;
      }
    },
    client: (vmId) => watched.get(vmId)?.client,
    release: (vmId) => {
      stopTrying(vmId);
      const entry = watched.get(vmId);
      watched.delete(vmId);
      return entry?.client;
    },
    detach,
    detachAll: () => { for (const id of [...watched.keys(), ...tries.keys()]) detach(id); },
    isDiskFull: (vmId) => fullDisks.has(vmId),
  };
}

class Reporter {
  readonly #vm: Vm;
  readonly #to: { readonly vms: Vms; readonly log: Logger; readonly onDiskFull: () => void };
  #diskFull = false;
  #ends = false;

  constructor(vm: Vm, to: { readonly vms: Vms; readonly log: Logger; readonly onDiskFull: () => void }) {
    this.#vm = vm;
    this.#to = to;
  }

  receive({ event, data }: QmpEvent): void {
    if (event === 'SHUTDOWN') {
      this.#ends = true;
      this.#to.log.info({ vm: this.#vm.name, reason: data['reason'], guest: data['guest'] }, 'VM shuts down');
    // At its end a VMM stops the CPUs, too.
    } else if (event === 'STOP' && !this.#ends) this.#to.vms.paused(this.#vm.id, true);
    else if (event === 'RESUME') this.#to.vms.paused(this.#vm.id, false);
    // Not counted here: firmware resets, too, and the guest agent tells one boot from the next.
    else if (event === 'RESET') this.#to.log.debug({ vm: this.#vm.name, reason: data['reason'] }, 'VM was reset');
    else if (event === 'BLOCK_IO_ERROR') this.#noteBlockError(data);
  }

  #noteBlockError(data: QmpEvent['data']): void {
    // A guest may produce thousands of these; one line says it. QEMU sets `nospace` only where such an error pauses the guest.
    const { nospace, reason } = data;
    const isFull = nospace === true || (typeof reason === 'string' && /no space left|quota exceeded/i.test(reason));
    if (this.#diskFull || !isFull) return;
    this.#diskFull = true;
    this.#to.onDiskFull();
    this.#to.vms.note(this.#vm.id, 'host disk full: writes of the guest fail');
    this.#to.log.warn({ vm: this.#vm.name, device: data['device'], operation: data['operation'] }, 'Host disk full, writes of the guest fail');
  }
}
