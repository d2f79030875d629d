// Sizes as people write them: a number and K, M, G or T, in powers of 1024.

const factors: Readonly<Record<string, number>> = { K: 2 ** 10, M: 2 ** 20, G: 2 ** 30, T: 2 ** 40 };
/** ext4 with 4 KiB blocks ends at 16 TiB. */
export const maxDiskBytes = 16 * 2 ** 40;

/** Bytes for text such as `8G`, `512MiB`, `1.5g` or plain bytes; `undefined` when it is no size or not a whole number of bytes. */
export function parseSize(text: string): number | undefined {
  const match = /^(\d+(?:\.\d+)?)([KMGT]?)(?:i?B)?$/i.exec(text.trim());
  if (!match) return undefined;
  const bytes = Number(match[1]) * (factors[(match[2] ?? '').toUpperCase()] ?? 1);
  return Number.isSafeInteger(bytes) ? bytes : undefined;
}

/** The shortest text that is exactly `bytes`: `8G`, `1536M`, `1000`. `parseSize` reads it back. */
export function formatSize(bytes: number): string {
  for (const unit of ['T', 'G', 'M', 'K']) {
    const factor = factors[unit] ?? 1;
    if (bytes >= factor && bytes % factor === 0) return `${bytes / factor}${unit}`;
  }
  return String(bytes);
}
