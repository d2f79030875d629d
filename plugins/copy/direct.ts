// Copies whose data goes past the daemon's own hands, through the VM's port for bulk data: one at a time a VM.
import { randomBytes } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import { cancelled, isBangerError, timedOut, unsupported } from '../../core/plugin-api.ts';
import type { GuestAgent, GuestExecRequest, GuestProcess, Logger, Vm } from '../../core/plugin-api.ts';

export interface DirectCopy {
  readonly socket: string;
  /** 16 bytes in hexadecimal. A port knows no connections: by them both ends tell this copy's bytes from what an earlier one left. */
  readonly hello: string;
  /** The guest's end, which waits for the client. */
  readonly process: GuestProcess;
}
export interface DirectCopies {
  /** Undefined: this VM has no such port, another copy has it, or the guest's end would not begin; the data then goes through the daemon. */
  begin(vm: Vm, request: GuestExecRequest, options: { readonly signal: AbortSignal; readonly log: Logger }): Promise<DirectCopy | undefined>;
  /**
   * For what has no other way: waits for its turn.
   *
   * @throws unsupported when this VM has no such port; timeout; cancelled; what keeps the guest's end from beginning
   */
  claim(vm: Vm, request: GuestExecRequest, options: ClaimOptions): Promise<DirectCopy>;
}
export interface ClaimOptions {
  readonly signal: AbortSignal;
  readonly log: Logger;
  /** How long other copies may take. */
  readonly waitMs: number;
}

const helloBytes = 16;
/** An earlier daemon's copy is not ours to wait for: its end leaves the port within seconds, and nobody tells when. */
const strangerMs = 20_000;
const lookAgainMs = 250;

export function createDirectCopies(agent: Pick<GuestAgent, 'exec' | 'bulkSocket'>): DirectCopies {
  return new PortCopies(agent);
}

class PortCopies implements DirectCopies {
  readonly #agent: Pick<GuestAgent, 'exec' | 'bulkSocket'>;
  /** By VM id, of those whose port is taken: resolves when it is free. */
  readonly #busy = new Map<string, Promise<void>>();

  constructor(agent: Pick<GuestAgent, 'exec' | 'bulkSocket'>) {
    this.#agent = agent;
  }

  async begin(vm: Vm, request: GuestExecRequest, { signal, log }: { readonly signal: AbortSignal; readonly log: Logger }): Promise<DirectCopy | undefined> {
    const socket = this.#agent.bulkSocket(vm);
    if (socket === undefined || this.#busy.has(vm.id)) return undefined;
    try {
      return await this.#start(vm, socket, { request, signal });
    } catch (error) {
      if (!isBangerError(error)) throw error;
      // Such as an earlier daemon's copy that has yet to end. The other way says what is wrong, if it is not only that.
      log.debug({ err: error }, 'the direct way of a copy is closed');
      return undefined;
    }
  }

  async claim(vm: Vm, request: GuestExecRequest, options: ClaimOptions): Promise<DirectCopy> {
    const socket = this.#agent.bulkSocket(vm);
    if (socket === undefined) throw unsupported(`VM ${vm.name} runs without a port for bulk data`, `banger vm restart ${vm.name} gives it one`);
    const { signal } = options;
    const giveUpAt = performance.now() + strangerMs;
    for (;;) {
      await this.#turn(vm, options);
      try {
        return await this.#start(vm, socket, { request, signal });
      } catch (error) {
        const isTaken = isBangerError(error) && error.code === 'operation_failed' && /\bbusy\b/i.test(error.message);
        if (!isTaken || performance.now() > giveUpAt) throw error;
        await delay(lookAgainMs, undefined, { signal }).catch(() => { throw cancelledFor(vm, signal); });
      }
    }
  }

  /** Nothing is awaited between the last look and `#start`, so nobody comes between. */
  async #turn(vm: Vm, { signal, log, waitMs }: ClaimOptions): Promise<void> {
    let holder = this.#busy.get(vm.id);
    if (holder === undefined) return;
    log.info('waits for the copy that has the port of the VM');
    const limit = AbortSignal.timeout(waitMs);
    const either = AbortSignal.any([signal, limit]);
    for (; holder !== undefined; holder = this.#busy.get(vm.id)) {
      if (await isSettledFirst(holder, either)) continue;
      throw signal.aborted ? cancelledFor(vm, signal) : timedOut(`the other copy of ${vm.name} to end`, waitMs);
    }
  }

  async #start(vm: Vm, socket: string, { request, signal }: { readonly request: GuestExecRequest; readonly signal: AbortSignal }): Promise<DirectCopy> {
    const hello = randomBytes(helloBytes).toString('hex');
    const [program = '', verb = '', ...words] = request.command;
    const over = Promise.withResolvers<void>();
    const free = (): void => {
      this.#busy.delete(vm.id);
      over.resolve();
    };
    this.#busy.set(vm.id, over.promise);
    try {
      const process = await this.#agent.exec(vm, {
        ...request, command: [program, verb, '--port', hello, ...words], stdin: false, bulk: verb === 'send' ? 'stdout' : 'stdin',
      }, signal);
      process.exit.then(free, free);
      return { socket, hello, process };
    } catch (error) {
      free();
      throw error;
    }
  }
}

const cancelledFor = (vm: Vm, signal: AbortSignal): Error => (isBangerError(signal.reason) ? signal.reason : cancelled(`The copy to ${vm.name}`));

/** False: the signal came before. `settled` never rejects. */
function isSettledFirst(settled: Promise<void>, signal: AbortSignal): Promise<boolean> {
  if (signal.aborted) return Promise.resolve(false);
  return new Promise((resolve) => {
    const onAbort = (): void => { resolve(false); };
    signal.addEventListener('abort', onAbort, { once: true });
    void settled.then(() => {
      signal.removeEventListener('abort', onAbort);
      resolve(true);
    });
  });
}
