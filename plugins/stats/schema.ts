// Shapes of the stats plugin: configuration, params and results.
import { isIP } from 'node:net';
import { z } from 'zod';
import { parseDuration } from './duration.ts';

const dayMs = 86_400_000;

function duration(range: { readonly minMs: number; readonly maxMs: number; readonly says: string; readonly off?: boolean }) {
  return z.string().transform((text, ctx) => {
    const ms = parseDuration(text);
    if (ms !== undefined && ((ms === 0 && range.off === true) || (ms >= range.minMs && ms <= range.maxMs))) return ms;
    ctx.addIssue({ code: 'custom', message: ms === undefined ? 'must be a duration such as 10s, 5m or 2h' : `must be ${range.says}` });
    return z.NEVER;
  });
}

/** `127.0.0.1:9464` or `[::1]:9464`. */
export interface ListenAddress { readonly host: string; readonly port: number }

/** Only the host itself can reach a loopback address; what is not one is refused, names too. */
export function parseListenAddress(text: string): ListenAddress | undefined {
  const match = /^(?:\[([^\]]+)\]|([^:]+)):(\d{1,5})$/.exec(text);
  const host = match?.[1] ?? match?.[2] ?? '';
  const port = Number(match?.[3]);
  const isLoopback = match?.[1] === undefined ? isIP(host) === 4 && host.startsWith('127.') : host === '::1';
  return isLoopback && port >= 1 && port <= 65_535 ? { host, port } : undefined;
}

const listenAddress = z.string().transform((text, ctx) => {
  const address = parseListenAddress(text);
  if (address !== undefined) return address;
  ctx.addIssue({ code: 'custom', message: 'must be a loopback address with a port, such as 127.0.0.1:9464' });
  return z.NEVER;
});

/** Section `[plugins.stats]`; durations become milliseconds. */
export const statsConfig = z.strictObject({
  poll_interval: duration({ minMs: 1000, maxMs: dayMs, says: 'from 1s to 1d' }).prefault('10s')
    .describe('How often the figures of every running VM are taken in the background, such as 10s or 1m'),
  auto_stop_stale_after: duration({ minMs: 1000, maxMs: 365 * dayMs, says: '0, or from 1s to 365d', off: true }).prefault('0')
    .describe('A VM that nobody used for this long is stopped, such as 2h; 0: never'),
  metrics_listen: listenAddress.optional()
    .describe('Loopback address and port at which GET /metrics gives OpenMetrics text to every user of this host, such as 127.0.0.1:9464; default: none'),
});
export type StatsConfig = z.output<typeof statsConfig>;

/** More references than this are not one question. */
const refs = z.array(z.string().min(1).max(256)).max(4096).optional().describe('ids, names, or beginnings that fit a single VM each; default: every VM');

export const statsParams = z.strictObject({
  refs,
  wait: z.boolean().optional().describe('false: answers at once with the last that is known of the guests'),
});
export const refsParams = z.strictObject({ refs });

const amount = z.number().nonnegative();
const vmName = z.strictObject({ id: z.string(), name: z.string() });
const state = z.enum(['running', 'paused', 'stopped']);

export const hostFigures = z.strictObject({
  cpuSeconds: amount, cpuPercent: amount.optional(), rssBytes: amount, pssBytes: amount.optional(), threads: amount,
});
export const guestFigures = z.strictObject({
  cpu: z.strictObject({ busySeconds: amount, idleSeconds: amount, stolenSeconds: amount }).optional(),
  cpuPercent: amount.optional(),
  memory: z.strictObject({ totalBytes: amount, usedBytes: amount, availableBytes: amount, swapTotalBytes: amount, swapFreeBytes: amount }).optional(),
  load: z.tuple([amount, amount, amount]).readonly().optional(),
  tasks: z.strictObject({ running: amount, all: amount }).optional(),
  uptimeSeconds: amount.optional(),
  fileSystems: z.array(z.strictObject({
    path: z.string().max(256), totalBytes: amount, usedBytes: amount, availableBytes: amount, inodes: amount, freeInodes: amount,
  })).max(8).readonly(),
  odd: z.array(z.string().max(64)).max(32).readonly(),
});
export const networkFigures = z.strictObject({ rxBytes: amount, txBytes: amount });

export const statsResult = z.strictObject({
  stats: z.array(z.strictObject({
    vm: vmName, state, at: z.string(), guestAt: z.string().optional(), stale: z.boolean(), host: hostFigures.optional(), guest: guestFigures.optional(),
    disks: z.array(z.strictObject({ id: z.string(), allocatedBytes: amount, virtualBytes: amount })).readonly(),
    network: networkFigures.optional(), uptimeSeconds: amount.optional(), memoryMiB: amount,
    use: z.strictObject({ lastUsedAt: z.string().optional(), holds: z.array(z.string()).readonly() }),
    problem: z.string().optional(),
  })).readonly(),
});
export const healthResult = z.strictObject({
  health: z.array(z.strictObject({
    vm: vmName, state, healthy: z.boolean(), reason: z.string().optional(), answeredMs: amount.optional(), warnings: z.array(z.string()).readonly(),
  })).readonly(),
});
export const pingResult = z.strictObject({
  pings: z.array(z.strictObject({ vm: vmName, alive: z.boolean(), answeredMs: amount.optional(), reason: z.string().optional() })).readonly(),
});
export const metricsResult = z.strictObject({ text: z.string() });
