// The SSH server of every running VM: takes connected sockets, serves them under the limits, ends them with their VM.
import type { Socket } from 'node:net';
import type { Activity, GuestAgent, Logger, Vm, VmUse, Vms } from '../../core/plugin-api.ts';
import { SshConnection } from './connection.ts';
import { createLimits } from './limits.ts';
import type { Admission, Limits } from './limits.ts';
import type { SshConfig } from './schema.ts';
import { loadSsh2 } from './ssh2-protocol.ts';

export interface SshServerDeps {
  readonly config: SshConfig;
  readonly agent: Pick<GuestAgent, 'exec' | 'dial' | 'listen'>;
  readonly activity: Activity;
  readonly use: Pick<VmUse, 'hold'>;
  readonly vms: Pick<Vms, 'running'>;
  readonly log: Logger;
  /** The VM's host key, OpenSSH PEM. */
  readonly hostKey: (vm: Vm) => Promise<string>;
  /** Lines of public keys that may log in. */
  readonly authorizedKeys: () => Promise<readonly string[]>;
}

/** A connection that has a place and a limit of time until it has authenticated. */
export interface Arrival {
  /** Fires when its time is over, its client is gone, or the server closes. */
  readonly signal: AbortSignal;
  /** Speaks SSH from the next byte on. Never rejects. */
  serve(vm: Vm): Promise<void>;
}

export interface SshServer {
  readonly limits: Limits;
  /** Undefined: too many have not authenticated yet; the caller closes the socket. */
  arrive(socket: Socket): Arrival | undefined;
  /** Ends the connections of a VM, telling their clients why. */
  closeVm(vmId: string, text: string): void;
  /** Ends everything. */
  close(): void;
}

export function createSshServer(deps: SshServerDeps): SshServer {
  const { config, log } = deps;
  const limits = createLimits({ maxUnauthenticated: config.max_unauthenticated, maxConnections: config.max_connections });
  const arrivals = new Set<ArrivedSocket>();
  return {
    limits,
    arrive(socket) {
      const admission = limits.admit();
      if (admission === undefined) return undefined;
      const arrived = new ArrivedSocket(socket, admission, deps);
      arrivals.add(arrived);
      socket.once('close', () => arrivals.delete(arrived));
      return arrived;
    },
    closeVm(vmId, text) {
      for (const arrived of arrivals) if (arrived.vmId === vmId) arrived.end(text);
    },
    close() {
      if (arrivals.size > 0) log.info({ connections: arrivals.size }, 'ending ssh connections');
      for (const arrived of arrivals) arrived.end('the daemon of banger has ended');
    },
  };
}

class ArrivedSocket implements Arrival {
  readonly #socket: Socket;
  readonly #admission: Admission;
  readonly #deps: SshServerDeps;
  readonly #over = new AbortController();
  readonly #timer: NodeJS.Timeout;
  #connection: SshConnection | undefined;
  /** Daemon and VM are held while an authenticated connection lives. */
  #release: (() => void) | undefined;
  vmId: string | undefined;

  constructor(socket: Socket, admission: Admission, deps: SshServerDeps) {
    this.#socket = socket;
    this.#admission = admission;
    this.#deps = deps;
    this.#timer = setTimeout(() => this.#expire(), deps.config.handshake_seconds * 1000);
    socket.on('error', () => undefined);
    socket.once('close', () => {
      clearTimeout(this.#timer);
      admission.release();
      this.#release?.();
      this.#over.abort();
    });
  }

  get signal(): AbortSignal {
    return this.#over.signal;
  }

  async serve(vm: Vm): Promise<void> {
    const { config, agent, vms, log, hostKey, authorizedKeys } = this.#deps;
    this.vmId = vm.id;
    try {
      const [ssh2, key, keys] = await Promise.all([loadSsh2(), hostKey(vm), authorizedKeys()]);
      if (this.#socket.destroyed) return;
      this.#connection = new SshConnection(this.#socket, {
        vm, agent, ssh2, log, hostKey: key, authorizedKeys: keys, ready: async (signal) => { await vms.running(vm.id, signal); },
        maxAuthTries: config.max_auth_tries, maxChannels: config.max_channels,
        onAuthenticated: () => this.#onAuthenticated(vm),
        onClosed: () => { this.#release?.(); },
      });
    } catch (error) {
      log.warn({ vm: vm.name, err: error }, 'cannot serve an ssh connection');
      this.#socket.destroy();
    }
  }

  /** Ends it; the client is told why when it can be. */
  end(text: string): void {
    if (this.#connection === undefined) this.#socket.destroy();
    else this.#connection.disconnect(text);
  }

  #expire(): void {
    this.#deps.log.debug('an ssh connection did not authenticate in time');
    this.#socket.destroy();
  }

  #onAuthenticated(vm: Vm): string | undefined {
    if (!this.#admission.authenticated(vm.id)) return `VM ${vm.name} has ${this.#deps.config.max_connections} ssh connections`;
    clearTimeout(this.#timer);
    const holds = [this.#deps.activity.hold(`ssh connection to ${vm.name}`), this.#deps.use.hold(vm.id, 'ssh session')];
    this.#release = () => { for (const release of holds) release(); };
    return undefined;
  }
}
