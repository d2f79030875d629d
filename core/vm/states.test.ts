import { describe, expect, it } from 'vitest';
import { decide } from '../lifecycle/recover.ts';
import type { VmRecord } from '../store/vms.ts';
import { availableMemoryMiB, requireHostRoom } from './preflight.ts';
import { deriveState, stateReason } from './states.ts';

const record = (more: Partial<VmRecord> = {}): VmRecord => ({
  id: 'a', name: 'devbox', slot: 1, createdAt: '2026-01-01T00:00:00.000Z', published: false, reboots: 0, lease: false,
  spec: { image: 'i', imageName: 'i', kernel: 'k', driver: 'd', vcpu: 1, memoryMiB: 64, init: 'auto', env: {}, sections: {} }, ...more,
});
const startedAt = '2026-01-01T00:00:00.000Z';
const lastError = { code: 'start_failed', message: 'no' };

describe('the state of a VM', () => {
  it.each([
    ['created', record(), false],
    ['starting', record({ activity: 'starting' }), true],
    ['running', record({ published: true, startedAt }), true],
    ['stopped', record({ published: true, startedAt }), false],
    ['stopping', record({ activity: 'stopping', published: true, startedAt }), true],
    ['stopping', record({ activity: 'deleting', startedAt }), false],
    ['error', record({ activity: 'deleting', lastError: { code: 'undo_failed', message: 'x' } }), false],
    ['error', record({ lastError }), false],
    ['stopped', record({ startedAt }), false],
  ] as const)('is %s', (state, vm, isAlive) => {
    expect(deriveState(vm, isAlive)).toBe(state);
  });

  it('has words where there is something to say', () => {
    expect(stateReason(record({ endReason: 'guest-panic' }), 'stopped')).toBe('guest panic');
    expect(stateReason(record({ endReason: 'stopped' }), 'stopped')).toBeUndefined();
    expect(stateReason(record({ lastError }), 'error')).toBe('no');
  });
});

describe('recovery decides', () => {
  it.each([
    ['adopt', record({ published: true }), true], ['stop', record({ published: true }), false], ['rollback', record({ activity: 'starting' }), true],
    ['stop', record({ activity: 'stopping', published: true }), true], ['delete', record({ activity: 'deleting' }), true],
    ['delete', record({ published: true, lease: true }), true], ['stop', record(), true],
  ] as const)('to %s', (decision, vm, isAlive) => {
    expect(decide(vm, isAlive)).toBe(decision);
  });
});

describe('preflight', () => {
  it('counts what the kernel could give', () => {
    expect(availableMemoryMiB('MemTotal:  2048 kB\nMemAvailable:    1048576 kB\nSwapFree:   1048576 kB\n')).toBe(2048);
    expect(availableMemoryMiB('')).toBeUndefined();
  });

  it('refuses what the host cannot bear, with figures', async () => {
    await expect(requireHostRoom({ name: 'devbox', memoryMiB: 512, stateDir: '/', meminfo: 'MemAvailable:  102400 kB\n' }))
      .rejects.toMatchObject({ code: 'missing_requirement', message: 'VM devbox needs 560 MiB of memory and the host has 100 MiB free' });
  });
});
