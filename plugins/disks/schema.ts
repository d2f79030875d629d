// Shapes of the disks plugin: configuration and its section of the VM spec.
import { z } from 'zod';
import { formatSize, maxDiskBytes, parseSize } from './size.ts';

export const disksConfig = z.strictObject({
  min_free_mib: z.int().min(0).max(1024 * 1024).default(512)
    .describe('A start is refused when the state directory\'s file system has less free space than this.'),
});
export type DisksConfig = z.output<typeof disksConfig>;

/** Smallest sizes: below these the file systems have no room for a system, or for their own journal. */
export const minRootBytes = 64 * 2 ** 20;
export const minWorkBytes = 16 * 2 ** 20;

/** Takes `8g`, `8192M` or bytes; gives the canonical text, rounded up to whole MiB so that block counts fit. */
function sizeText(minBytes: number) {
  return z.union([z.string(), z.int().nonnegative()]).transform((value, ctx) => {
    const bytes = typeof value === 'number' ? value : parseSize(value);
    const problem = bytes === undefined ? 'must be a size such as 8G, 512M or a number of bytes'
      : bytes < minBytes ? `must be at least ${formatSize(minBytes)}`
        : bytes > maxDiskBytes ? `must be at most ${formatSize(maxDiskBytes)}` : undefined;
    if (problem === undefined) return formatSize(Math.ceil((bytes ?? 0) / 2 ** 20) * 2 ** 20);
    ctx.addIssue({ code: 'custom', message: problem });
    return z.NEVER;
  });
}

export const disksSection = z.strictObject({
  rootSize: sizeText(minRootBytes).default('8G').describe('Size of the root disk; at least the image\'s.'),
  workSize: sizeText(minWorkBytes).default('8G').describe('Size of the work disk mounted at /root.'),
});
export type DisksSection = z.output<typeof disksSection>;
