// Copies whose data the client moves itself, through the VM's port for bulk data: one at a time a VM.
import { randomBytes } from 'node:crypto';
import { isBangerError } from '../../core/plugin-api.ts';
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
}

const helloBytes = 16;

export function createDirectCopies(agent: Pick<GuestAgent, 'exec' | 'bulkSocket'>): DirectCopies {
  const busy = new Set<string>();
  return {
    async begin(vm, request, { signal, log }) {
      const socket = agent.bulkSocket(vm);
      if (socket === undefined || busy.has(vm.id)) return undefined;
      const hello = randomBytes(helloBytes).toString('hex');
      const [program = '', verb = '', ...words] = request.command;
      busy.add(vm.id);
      try {
        const process = await agent.exec(vm, {
          ...request, command: [program, verb, '--port', hello, ...words], stdin: false, bulk: verb === 'send' ? 'stdout' : 'stdin',
        }, signal);
        const free = (): void => { busy.delete(vm.id); };
        process.exit.then(free, free);
        return { socket, hello, process };
      } catch (error) {
        busy.delete(vm.id);
        if (!isBangerError(error)) throw error;
        // Such as an earlier daemon's copy that has yet to end. The other way says what is wrong, if it is not only that.
        log.debug({ err: error }, 'the direct way of a copy is closed');
        return undefined;
      }
    },
  };
}
