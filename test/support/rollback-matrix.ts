// The rollback matrix: every registered step fails, fails in its undo, and loses its daemon at five points. Generated from
// what `vm plan` lists, so a new step is covered the day it is registered.
import { existsSync, readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { join, relative } from 'node:path';
import { expect } from 'vitest';
import type { LeakReport, VmPlanResult } from '../../core/api.ts';
import { makeHost, type Host, type HostOptions } from './host.ts';
import { isLive } from './processes.ts';
import { waitFor } from './wait.ts';

export const crashPoints = ['plan-written', 'run-entered', 'host-touched', 'run-returned', 'handle-written'] as const;
const undoPoint = 'undo-entered';

export interface MatrixSetup {
  readonly driver: 'real' | 'fake';
  /** Flags of `vm create`, so that every step has something to do. */
  readonly flags: readonly string[];
}

export function matrixHost(setup: MatrixSetup): Promise<Host> {
  const options: HostOptions = { daemonEntry: 'test/support/fault-daemon.ts', bare: setup.driver === 'fake' };
  return makeHost(options);
}

const environment = (setup: MatrixSetup, fault: object | null): Record<string, string> =>
  ({ BANGER_TEST_DRIVER: setup.driver, BANGER_TEST_FAULT: JSON.stringify(fault) });

async function withDaemon(host: Host, setup: MatrixSetup, fault: object | null): Promise<void> {
  const running = await host.daemonPid();
  if (running !== undefined) {
    await host.ok(['daemon', 'stop']);
    await waitFor('the old daemon to be gone', () => !isLive(running));
  }
  await host.startDaemon(environment(setup, fault));
}

/** Steps of a start in order, with what each would make. */
export async function plannedSteps(setup: MatrixSetup): Promise<VmPlanResult['steps']> {
  const host = await matrixHost(setup);
  try {
    await withDaemon(host, setup, null);
    const { steps } = JSON.parse((await host.ok(['vm', 'run', '--plan', '--json', ...setup.flags])).out) as VmPlanResult;
    return steps;
  } finally {
    await host.dispose();
  }
}

const leaks = async (host: Host): Promise<LeakReport> => JSON.parse((await host.banger(['doctor', '--leaks', '--json'])).out) as LeakReport;

/** Network namespaces other than our own in which a process of this installation lives, found by its directory, marked or not. */
function netNamespaces(host: Host): string[] {
  const own = readlinkSync('/proc/self/ns/net');
  const found = new Set<string>();
  for (const pid of readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
    try {
      const words = readFileSync(`/proc/${pid}/cmdline`, 'utf8') + readFileSync(`/proc/${pid}/environ`, 'utf8');
      if (words.includes(host.stateDir)) found.add(readlinkSync(`/proc/${pid}/ns/net`));
    } catch {
      // ended meanwhile
    }
  }
  found.delete(own);
  return [...found];
}

/** Nothing of a failed start may stay but the VM's row and its console logs. */
async function expectClean(host: Host): Promise<void> {
  await waitFor('marked processes to be gone', async () => (await host.marked()).length === 0);
  expect(await leaks(host)).toEqual({ leaks: [], undoFailed: [] });
  const dir = join(host.stateDir, 'vms');
  const files = existsSync(dir) ? readdirSync(dir, { recursive: true, withFileTypes: true }).filter((e) => !e.isDirectory()).map((e) => relative(dir, join(e.parentPath, e.name))) : [];
  // <vm id>/console/<boot>.log of QEMU's supervisor, <vm id>/console-<step>.log of the fake driver.
  expect(files.filter((name) => !/^[0-9a-f]+\/console[/-]/.test(name))).toEqual([]);
  // The kernel knows a listener by the name it was bound to: the daemon's two are renamed then.
  const sockets = readFileSync('/proc/net/unix', 'utf8').split('\n').filter((line) => line.includes(host.stateDir) && !/\/(bangerd|ssh\.sock)/.test(line));
  expect(sockets).toEqual([]);
  expect(netNamespaces(host)).toEqual([]);
}

async function expectRetryWorks(host: Host): Promise<void> {
  await host.ok(['vm', 'start', 'matrix'], { timeoutMs: 180_000 });
  expect((await host.ok(['vm', 'exec', 'matrix', '--', 'echo', 'up'])).out).toBe('up\n');
}

/** A failing step: right error, everything undone, then a start that works; then its undo fails once and `reclaim` clears it. */
export async function failInStepThenInUndo(setup: MatrixSetup, step: string): Promise<void> {
  const host = await matrixHost(setup);
  try {
    await withDaemon(host, setup, { action: 'throw', point: 'host-touched', step, times: 1 });
    const failed = await host.banger(['vm', 'create', '--name', 'matrix', ...setup.flags]);
    expect(failed.code, failed.err).toBe(1);
    expect(failed.err).toContain(step);
    expect(failed.err).toContain('injected fault');
    expect((await host.vm('matrix')).state).toBe('error');
    await expectClean(host);
    await withDaemon(host, setup, { action: 'throw', point: undoPoint, step, times: 1 });
    await expectRetryWorks(host);
    await host.banger(['vm', 'delete', 'matrix']);
    const report = await leaks(host);
    expect(report.undoFailed).toEqual([expect.objectContaining({ step, error: expect.stringContaining('injected fault') })]);
    const doctor = await host.banger(['doctor', '--leaks']);
    expect(doctor.out).toContain(step);
    await host.ok(['reclaim']);
    await host.banger(['vm', 'delete', 'matrix']);
    await expectClean(host);
  } finally {
    await host.dispose();
  }
}

/** The daemon is killed at a point of a step; after a restart nothing is left over and a retry works. */
export async function killAt(setup: MatrixSetup, step: string, point: (typeof crashPoints)[number]): Promise<void> {
  const host = await matrixHost(setup);
  try {
    await withDaemon(host, setup, { action: 'kill', point, step, times: 1 });
    const pid = (await host.daemonPid())!;
    const failed = await host.banger(['vm', 'create', '--name', 'matrix', ...setup.flags]);
    expect(failed.code).toBe(1);
    expect(failed.err).toMatch(/^banger: /m);
    await waitFor('the daemon to be dead', () => !isLive(pid));
    await host.startDaemon(environment(setup, null));
    await waitFor('recovery', async () => (await host.vm('matrix')).state === 'error');
    expect((await host.vm('matrix')).lastError?.message).toMatch(/interrupted/i);
    await expectClean(host);
    await expectRetryWorks(host);
    await host.ok(['vm', 'delete', 'matrix']);
  } finally {
    await host.dispose();
  }
}
