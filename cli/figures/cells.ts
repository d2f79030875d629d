// Figures of VMs as short cells: eight columns fit into 80 with a name of 16.
import type { VmStats } from '../../core/api.ts';

const none = '-';

/** `0`, `512M`, `1.5G`: at most four characters and a unit. */
export function shortBytes(bytes: number): string {
  const units = ['B', 'K', 'M', 'G', 'T', 'P', 'E'];
  let value = bytes;
  let unit = 0;
  while (value >= 999.5 && unit < units.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${value < 9.95 && unit > 0 ? value.toFixed(1) : Math.round(value)}${units[unit]!}`;
}

/** `59s`, `12m`, `3h12m`, `5d4h`. */
export function shortTime(seconds: number): string {
  if (seconds < 60) return `${Math.floor(seconds)}s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)}m`;
  const [large, small, big, little] = seconds < 86_400 ? [3600, 60, 'h', 'm'] as const : [86_400, 3600, 'd', 'h'] as const;
  return `${Math.floor(seconds / large)}${big}${Math.floor((seconds % large) / small)}${little}`;
}

export const figureHeaders = ['NAME', 'STATE', 'CPU%', 'MEM/LIMIT', 'RSS', 'DISK', 'NET RX/TX', 'UPTIME'] as const;

/** In the order of the headers. */
export function figureCells({ vm, state, host, guest, disks, network, uptimeSeconds, memoryMiB }: VmStats): readonly string[] {
  return [
    vm.name, state, host?.cpuPercent === undefined ? none : host.cpuPercent.toFixed(1),
    `${guest?.memory === undefined ? none : shortBytes(guest.memory.usedBytes)}/${shortBytes(memoryMiB * 2 ** 20)}`,
    host === undefined ? none : shortBytes(host.rssBytes), disks.length === 0 ? none : shortBytes(diskBytes(disks)),
    network === undefined ? none : `${shortBytes(network.rxBytes)}/${shortBytes(network.txBytes)}`,
    uptimeSeconds === undefined ? none : shortTime(uptimeSeconds),
  ];
}

/** What disks take on the host, together. */
export const diskBytes = (disks: VmStats['disks']): number => disks.reduce((sum, disk) => sum + disk.allocatedBytes, 0);

/** A sentence for each VM whose figures are not all there or not of now. */
export function figureNotes(stats: readonly VmStats[]): string[] {
  const old = stats.filter((entry) => entry.stale).map((entry) => entry.vm.name);
  return [
    ...stats.flatMap((entry) => (entry.problem === undefined ? [] : [`${entry.vm.name}: ${entry.problem}`])),
    ...(old.length === 0 ? [] : [`not running, the last figures known: ${old.join(', ')}`]),
  ];
}
