// What one running VM has of forwards beside its published ports, and of the host's services. Begun by the step, ended by its undo.
import { BangerError, createKeyedLock, notRunning, operationFailed } from '../../core/plugin-api.ts';
import type { Vm } from '../../core/plugin-api.ts';
import type { PortForward } from '../usernet/capability.ts';
import { readAdded, writeAdded } from './added-file.ts';
import type { AddedPort } from './added-file.ts';
import { AutoForwards } from './auto-forwards.ts';
import type { AutoForwardsDeps } from './auto-forwards.ts';
import { HostAccess } from './host-access.ts';
import type { HostAccessDeps } from './host-access.ts';
import type { GuestListeners } from '../stats/capability.ts';
import { guestHostOf } from './wanted.ts';

export interface VmPortsDeps extends AutoForwardsDeps, HostAccessDeps {
  readonly listeners: GuestListeners;
  /** Ports of the host's 127.0.0.1 that guests may reach. */
  readonly hostAccess: readonly number[];
  /** How long `add` may ask the guest where its port listens. */
  readonly askLimitMs: number;
}
export interface PortRequest {
  readonly protocol: 'tcp' | 'udp';
  readonly guestPort: number;
  readonly hostPort?: number | undefined;
  readonly address?: string | undefined;
}
export type HostPortRef = { readonly protocol: 'tcp' | 'udp'; readonly hostPort: number; readonly address?: string | undefined };

/** Ports added to a VM at one time. */
export const maxAdded = 256;
/** UDP ports among them: each has a stream of the agent's, which has 256 for everything. */
export const maxUdp = 32;

export class VmPorts {
  readonly #deps: VmPortsDeps;
  readonly #vm: Vm;
  readonly #lock = createKeyedLock();
  readonly #gone = new AbortController();
  readonly #hostAccess: HostAccess;
  #auto: AutoForwards | undefined;
  /** Added ports that could not be had again, and why. */
  readonly #lost = new Map<string, string>();

  constructor(deps: VmPortsDeps, vm: Vm, options: { readonly auto: boolean }) {
    this.#deps = deps;
    this.#vm = vm;
    this.#hostAccess = new HostAccess(deps, vm, deps.hostAccess);
    if (options.auto) this.#auto = new AutoForwards(deps, vm);
  }

  get isAuto(): boolean {
    return this.#auto !== undefined;
  }
  /** Sentences about what is not as one might expect. */
  notices(): string[] {
    return [...this.#lost.values(), ...this.#auto?.notices() ?? [], ...this.#hostAccess.notices()];
  }

  /** Opens again what was added before this daemon began; what cannot be had is a notice. */
  restore(): Promise<void> {
    return this.#alone('restore', async () => {
      for (const port of await readAdded(this.#vm)) {
        try {
          await this.#deps.forwards.open(this.#vm, { ...port, source: 'added' });
        } catch (error) {
          this.#deps.log.warn({ vm: this.#vm.name, guestPort: port.guestPort, err: error }, 'an added port cannot be had again');
          this.#lost.set(guestPortKey(port), `added port ${port.guestPort} is gone: ${error instanceof Error ? error.message : 'internal error'}`);
        }
      }
    });
  }

  /** @throws busy, naming who holds the port; operation_failed; not_running */
  async add(request: PortRequest): Promise<PortForward> {
    // Before its turn: a change of the VM waits for that with the VM's lock in hand, and must not wait for a guest.
    const guestHost = await this.#guestHost(request);
    return this.#alone('vm.port.add', async () => {
      const { forwards } = this.#deps;
      this.#requireRoom(request.protocol);
      const before = this.#added();
      const forward = await forwards.open(this.#vm, { ...request, guestHost, source: 'added' });
      try {
        await this.#save(this.#added());
      } catch (error) {
        if (forward.source === 'added' && !before.includes(forward)) forwards.close(this.#vm, forward);
        throw error;
      } finally {
        this.#auto?.again();
      }
      this.#lost.delete(guestPortKey(request));
      return forward;
    });
  }

  /** @throws not_found; wrong_state for a port that was not added; not_running */
  remove(wanted: HostPortRef): Promise<PortForward> {
    return this.#alone('vm.port.rm', async () => {
      const forward = this.#find(wanted);
      if (forward.source !== 'added') throw notAdded(this.#vm.name, forward);
      await this.#save(this.#added().filter((other) => other !== forward));
      this.#deps.forwards.close(this.#vm, forward);
      this.#auto?.again();
      return forward;
    });
  }

  setAuto(isAuto: boolean): Promise<void> {
    return this.#alone('vm.set', async () => {
      if (isAuto === this.isAuto) return;
      const former = this.#auto;
      this.#auto = isAuto ? new AutoForwards(this.#deps, this.#vm) : undefined;
      await former?.stop();
    });
  }

  /** The published ports have changed. */
  again(): void {
    this.#auto?.again();
  }

  /** Ends what it has open; what was added stays in its file. */
  async end(): Promise<void> {
    this.#gone.abort(notRunning(this.#vm.name, 'it is stopping'));
    this.#hostAccess.close();
    // What is under way has ended after this, its file included.
    (await this.#lock.acquire('ports', { holder: 'end' }))();
    await this.#auto?.stop();
    this.#auto = undefined;
    for (const forward of this.#added()) this.#deps.forwards.close(this.#vm, forward);
  }

  #requireRoom(protocol: 'tcp' | 'udp'): void {
    const added = this.#added();
    const full = added.length >= maxAdded ? `${maxAdded} added ports`
      : protocol === 'udp' && added.filter((forward) => forward.protocol === 'udp').length >= maxUdp ? `${maxUdp} UDP ports` : undefined;
    if (full !== undefined) throw operationFailed(`${full} are all a VM gets`, { hint: `banger vm port rm ${this.#vm.name} PORT` });
  }

  #added(): PortForward[] {
    return this.#deps.forwards.list(this.#vm).filter(({ source }) => source === 'added');
  }

  /** @throws operation_failed */
  async #save(added: readonly PortForward[]): Promise<void> {
    try {
      await writeAdded(this.#vm, added.map(({ protocol, address, hostPort, guestPort, guestHost }): AddedPort => ({ protocol, address, hostPort, guestPort, guestHost })));
    } catch (error) {
      throw operationFailed(`The ports of ${this.#vm.name} cannot be noted down`, { cause: error });
    }
  }

  /** Where the port listens now; nothing is known of one that does not yet, and of a guest that does not say. */
  async #guestHost({ protocol, guestPort }: PortRequest): Promise<string | undefined> {
    try {
      const signal = AbortSignal.any([this.#gone.signal, AbortSignal.timeout(this.#deps.askLimitMs)]);
      const { listeners } = await this.#deps.listeners.list(this.#vm, signal);
      return guestHostOf(listeners, protocol, guestPort);
    } catch (error) {
      this.#deps.log.debug({ vm: this.#vm.name, err: error }, 'the guest does not tell what listens');
      return undefined;
    }
  }

  #find({ protocol, hostPort, address }: HostPortRef): PortForward {
    const same = this.#deps.forwards.list(this.#vm).filter((forward) => forward.protocol === protocol && forward.hostPort === hostPort);
    const own = this.#deps.address(this.#vm);
    const found = address === undefined ? same.find((forward) => forward.address === own) ?? (same.length === 1 ? same[0] : undefined)
      : same.find((forward) => forward.address === address);
    if (found !== undefined) return found;
    throw new BangerError('not_found', `VM ${this.#vm.name} has no forward at ${address === undefined ? 'port ' : `${address}:`}${hostPort}${protocol === 'udp' ? ' (UDP)' : ''}`, {
      hint: `banger vm port list ${this.#vm.name} shows what there is`,
    });
  }

  /** One change at a time, and none of a VM whose forwards have ended. */
  #alone<T>(verb: string, work: () => Promise<T>): Promise<T> {
    return this.#lock.run('ports', { holder: verb, signal: this.#gone.signal, subject: `ports of ${this.#vm.name}` }, work);
  }
}

const guestPortKey = ({ protocol, guestPort }: Pick<PortRequest, 'protocol' | 'guestPort'>): string => `${protocol} ${guestPort}`;

function notAdded(vm: string, { source, hostPort }: PortForward): BangerError {
  const [what, hint] = source === 'published' ? ['is published', `banger vm set ${vm} --publish replaces what is`]
    : ['is forwarded automatically and goes with its listener', `banger vm set ${vm} --no-auto-ports ends all of these`];
  return new BangerError('wrong_state', `Port ${hostPort} of VM ${vm} ${what}`, { hint });
}
