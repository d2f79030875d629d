import { existsSync } from 'node:fs';
import { connect } from 'node:net';
import type { Socket } from 'node:net';
import { cancelled, notRunning, unsupported } from '../../core/plugin-api.ts';
import type { Exec, HostInfo, Vm, VmmDriver } from '../../core/plugin-api.ts';
import type { Accelerator } from './accel.ts';
import { socketNames } from './boot.ts';
import { consoleBoots, greetConsole } from './console.ts';
import type { QemuConfig } from './schema.ts';
import type { Watcher } from './watch.ts';

export interface DriverDeps {
  readonly exec: Exec;
  readonly host: HostInfo;
  readonly config: QemuConfig;
  readonly accel: Accelerator;
  readonly watcher: Pick<Watcher, 'client'>;
}

/** Below a driver for microVMs, which is preferred where it works. */
const preference = 10;

export function createQemuDriver({ exec, host, config, accel, watcher }: DriverDeps): VmmDriver {
  const control = async (vm: Vm, command: 'stop' | 'cont'): Promise<void> => {
    const client = watcher.client(vm.id);
    if (client === undefined) throw notRunning(vm.name, 'its VMM does not answer');
    await client.execute(command);
  };
  return {
    driveFormats: ['qcow2', 'raw'],
    async available() {
      if (await exec.find(config.binary) === undefined) return { ok: false, preference, reason: `${config.binary} is not found` };
      return { ok: true, preference, accelerator: accel.name, reason: accel.reason };
    },
    connectAgent: (vm, signal) => connectSocket(host.socketPath(vm.id, socketNames.agent), vm, signal),
    bulkSocket(vm) {
      const path = host.socketPath(vm.id, socketNames.bulk);
      // A VM that an earlier version started has none.
      return existsSync(path) ? path : undefined;
    },
    async connectConsole(vm, signal) {
      const path = host.socketPath(vm.id, socketNames.console);
      // Both are made together, and go together.
      if (!existsSync(path) && existsSync(host.socketPath(vm.id, socketNames.agent))) {
        throw unsupported(`VM ${vm.name} was started by a version of banger without consoles`, `banger vm restart ${vm.name}`);
      }
      return greetConsole(await connectSocket(path, vm, signal), vm);
    },
    // Answered when the guest's CPUs stand still, or run; each is nothing to a guest that is so already.
    pause: (vm) => control(vm, 'stop'),
    resume: (vm) => control(vm, 'cont'),
    consoleLogs: (vm) => consoleBoots(vm.dir).flatMap(({ files }) => files),
    consoleBoots: (vm) => consoleBoots(vm.dir),
  };
}

function connectSocket(path: string, vm: Vm, signal: AbortSignal): Promise<Socket> {
  if (signal.aborted) return Promise.reject(cancelled(`Connecting to ${vm.name}`));
  return new Promise((resolve, reject) => {
    const socket = connect({ path });
    const settle = (finish: () => void): void => {
      signal.removeEventListener('abort', abort);
      socket.removeAllListeners();
      finish();
    };
    const abort = (): void => settle(() => {
      socket.on('error', () => {});
      socket.destroy();
      reject(cancelled(`Connecting to ${vm.name}`));
    });
    signal.addEventListener('abort', abort, { once: true });
    socket.once('connect', () => settle(() => resolve(socket)));
    // No file or nobody listening: there is no VMM.
    socket.once('error', () => settle(() => reject(notRunning(vm.name, 'its VMM does not listen'))));
  });
}
