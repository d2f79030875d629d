// Step `ssh.listen`: the SSH server on the VM's own loopback address, where the configuration gives it a port.
import { createServer } from 'node:net';
import type { Server, Socket } from 'node:net';
import { busy, operationFailed } from '../../core/plugin-api.ts';
import type { Logger, Step, Vm, Vms } from '../../core/plugin-api.ts';
import type { LoopbackAddresses } from '../usernet/capability.ts';
import type { SshServer } from './server.ts';

export interface LoopbackDeps {
  /** 0: nothing listens. */
  readonly port: number;
  readonly addresses: LoopbackAddresses | undefined;
  readonly server: SshServer;
  readonly vms: Pick<Vms, 'running'>;
  readonly log: Logger;
}
export type ListenPlan = { readonly address: string; readonly port: number };

export interface LoopbackListeners {
  readonly step: Step<ListenPlan, null>;
  closeAll(): void;
}

export function createLoopbackListeners(deps: LoopbackDeps): LoopbackListeners {
  const servers = new Map<string, Server>();
  const close = (vmId: string): void => {
    servers.get(vmId)?.close();
    servers.delete(vmId);
  };
  const open = async (vm: Vm, plan: ListenPlan): Promise<void> => {
    close(vm.id);
    // Paused: nothing of a client that is refused is read.
    const listener = createServer({ pauseOnConnect: true, noDelay: true }, (socket) => void meet(socket, vm, deps));
    await listen(listener, plan);
    listener.on('error', (error) => deps.log.warn({ vm: vm.name, err: error }, 'an ssh port had an error'));
    servers.set(vm.id, listener);
  };
  return {
    closeAll() {
      for (const id of servers.keys()) close(id);
    },
    step: {
      name: 'ssh.listen', phase: 'publish', timeoutMs: 5000,
      plan({ vm }) {
        const { port, addresses } = deps;
        if (port === 0 || addresses === undefined) return undefined;
        const address = addresses.address(vm);
        return { data: { address, port }, makes: [`listener ${address}:${port}`] };
      },
      async run(ctx, plan) {
        await open(ctx.vm, plan);
        await ctx.touched();
        return null;
      },
      // Safe twice: closing what is closed does nothing, and listeners end with the daemon anyway.
      undo: async (ctx) => close(ctx.vm.id),
      adopt: (ctx, plan) => open(ctx.vm, plan),
    },
  };
}

/** A client that comes over TCP and is one too many is closed without a word: it expects SSH, not a line. */
async function meet(socket: Socket, vm: Vm, { server, vms, log }: LoopbackDeps): Promise<void> {
  const arrival = server.arrive(socket);
  if (arrival === undefined) {
    socket.destroy();
    return;
  }
  try {
    await arrival.serve(await vms.running(vm.id, arrival.signal));
  } catch (error) {
    log.debug({ vm: vm.name, err: error }, 'an ssh client was refused');
    socket.destroy();
  }
}

function listen(server: Server, { address, port }: ListenPlan): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => {
      reject(error.code === 'EADDRINUSE' ? busy(`Port ${address}:${port}`, 'another process listens there')
        : operationFailed(`Cannot listen on ${address}:${port}`, { cause: error, hint: 'set loopback_port in [plugins.ssh] to another port, or to 0' }));
    });
    server.listen({ host: address, port }, () => {
      server.removeAllListeners('error');
      resolve();
    });
  });
}
