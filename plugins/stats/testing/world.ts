// Test support: VMs that are processes of this host, and guests whose every answer the test gives.
import { spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { onTestFinished } from 'vitest';
import { createProcesses } from '../../../core/process.ts';
import { cancelled, notFound } from '../../../core/plugin-api.ts';
import type { ProcessIdentity, Vm, Vms } from '../../../core/plugin-api.ts';
import { memoryLog } from '../../../test/support/rpc-fixture.ts';
import type { LogLine } from '../../../test/support/rpc-fixture.ts';
import type { AskOptions } from '../guest/ask.ts';
import type { GuestFigures } from '../guest/stat.ts';
import { Watch } from '../watch.ts';
import type { WatchDeps } from '../watch.ts';

export const figures = (changes: Partial<GuestFigures> = {}): GuestFigures => ({
  cpu: { busySeconds: 10, idleSeconds: 90, stolenSeconds: 1 }, uptimeSeconds: 101, load: [0.5, 0.25, 0.1], tasks: { running: 1, all: 80 },
  memory: { totalBytes: 500e6, usedBytes: 100e6, availableBytes: 400e6, swapTotalBytes: 0, swapFreeBytes: 0 },
  network: { rxBytes: 1000, txBytes: 200 }, odd: [],
  fileSystems: [{ path: '/', totalBytes: 8e9, usedBytes: 2e9, availableBytes: 6e9, inodes: 1000, freeInodes: 900 }], ...changes,
});

export interface Asked {
  readonly vm: Vm;
  readonly options: AskOptions;
  answer(figures?: GuestFigures): void;
  fail(error: Error): void;
  /** The guest has ended the question. */
  over(): void;
}

export interface World {
  readonly dir: string;
  readonly asked: Asked[];
  readonly log: LogLine[];
  readonly vms: Vms & { readonly all: Map<string, Vm>; readonly pausedIds: Set<string> };
  readonly watch: Watch;
  /** A VM whose VMM is a process of the test. */
  add(name: string, options?: { readonly process?: ProcessIdentity }): Promise<Vm>;
  stop(vm: Vm, kind?: 'stopped' | 'deleted'): void;
  closing: AbortController;
}

const processes = createProcesses();
export const ownProcess = (): ProcessIdentity => processes.identify(process.pid)!;

/** A process that does nothing; ended with the test. */
export function sleeper(): { readonly identity: ProcessIdentity; kill(signal: NodeJS.Signals): void } {
  const child = spawn('sleep', ['600'], { stdio: 'ignore' });
  onTestFinished(() => { child.kill('SIGKILL'); });
  return { identity: processes.identify(child.pid!)!, kill: (signal) => { child.kill(signal); } };
}

export interface WorldOptions extends Partial<Pick<WatchDeps, 'disks' | 'times'>> { readonly limitMs?: number }

export function makeWorld(options: WorldOptions = {}): World {
  const dir = mkdtempSync(join(tmpdir(), 'banger-stats-'));
  const asked: Asked[] = [];
  const log: LogLine[] = [];
  const closing = new AbortController();
  const live = new Map<string, ProcessIdentity>();
  const listeners = new Set<Parameters<Vms['onChange']>[0]>();
  const vms = fakeVms(live, listeners);
  const watch = new Watch({
    vms, disks: options.disks, log: memoryLog(log), signal: closing.signal, limitMs: () => options.limitMs ?? 60_000,
    ...(options.times === undefined ? {} : { times: options.times }),
    ask: (vm, askOptions) => new Promise((resolve, reject) => {
      const over = Promise.withResolvers<void>();
      askOptions.onBegun?.(over.promise);
      askOptions.signal.addEventListener('abort', () => reject(cancelled('the question')));
      asked.push({
        vm, options: askOptions, over: over.resolve,
        answer: (given = figures()) => { over.resolve(); resolve(given); }, fail: (error) => reject(error),
      });
    }),
  });
  onTestFinished(async () => {
    closing.abort();
    await watch.close();
    rmSync(dir, { recursive: true });
  });
  let made = 0;
  return {
    dir, asked, log, vms, watch, closing,
    async add(name, { process = ownProcess() } = {}) {
      made += 1;
      const id = made.toString(16).padStart(12, '0');
      const vm = { id, name, slot: made, dir: join(dir, id), spec: { vcpu: 2, memoryMiB: 512, driver: 'fake', imageName: 'debian', sections: {} } } as unknown as Vm;
      mkdirSync(vm.dir);
      vms.all.set(id, vm);
      live.set(id, process);
      for (const listener of listeners) listener({ kind: 'started', vm });
      return vm;
    },
    stop(vm, kind = 'stopped') {
      live.delete(vm.id);
      if (kind === 'deleted') vms.all.delete(vm.id);
      for (const listener of listeners) listener({ kind, vm });
    },
  };
}

function fakeVms(live: ReadonlyMap<string, ProcessIdentity>, listeners: Set<Parameters<Vms['onChange']>[0]>): World['vms'] {
  const all = new Map<string, Vm>();
  const pausedIds = new Set<string>();
  const resolve = (ref: string): Vm => {
    const found = [...all.values()].find((vm) => vm.id === ref || vm.name === ref);
    if (found === undefined) throw notFound('VM', ref);
    return found;
  };
  return {
    all, pausedIds, resolve,
    get: (id) => all.get(id), list: () => [...all.values()], isRunning: (id) => live.has(id), process: (id) => live.get(id),
    running: async (ref) => resolve(ref), isPaused: (id) => pausedIds.has(id), paused: () => undefined, ended: () => undefined,
    rebooted: () => undefined, note: () => undefined,
    onChange(listener) {
      listeners.add(listener);
      return () => { listeners.delete(listener); };
    },
  };
}
