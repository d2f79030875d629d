// Figures of a VM that is well, for tests.
import type { VmStats } from '../../core/api.ts';

export const entry = (name: string, changes: Partial<VmStats> = {}): VmStats => ({
  vm: { id: name, name }, state: 'running', at: '2026-01-01T00:00:00.000Z', stale: false, memoryMiB: 512,
  host: { cpuSeconds: 10, cpuPercent: 12.345, rssBytes: 310 * 2 ** 20, threads: 4 },
  guest: { memory: { totalBytes: 500e6, usedBytes: 120 * 2 ** 20, availableBytes: 3e8, swapTotalBytes: 0, swapFreeBytes: 0 }, fileSystems: [], odd: [] },
  disks: [{ id: 'root', allocatedBytes: 1.2 * 2 ** 30, virtualBytes: 8e9 }], network: { rxBytes: 6.5 * 2 ** 20, txBytes: 900 }, uptimeSeconds: 11_520,
  use: { holds: [] }, ...changes,
});
