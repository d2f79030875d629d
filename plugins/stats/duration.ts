// Durations as people write them: a number and ms, s, m, h or d.

const factors: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 };

/** Milliseconds for text such as `10s`, `1.5m`, `2 h`, `0`; `undefined` when it is no duration. */
export function parseDuration(text: string): number | undefined {
  const match = /^(\d{1,9}(?:\.\d{1,3})?) ?(ms|s|m|h|d)$/.exec(text.trim());
  if (match === null) return /^0+$/.test(text.trim()) ? 0 : undefined;
  return Math.round(Number(match[1]) * (factors[match[2] ?? ''] ?? 0));
}

/** `90 s`, `5 min`, `2 h`, `3 days`: rounded down to the unit that says it in few digits. */
export function formatDuration(ms: number): string {
  const seconds = ms / 1000;
  if (seconds < 120) return `${Number.isInteger(seconds) ? seconds : seconds.toFixed(1)} s`;
  if (seconds < 120 * 60) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 48 * 3600) return `${Math.floor(seconds / 3600)} h`;
  return `${Math.floor(seconds / 86_400)} days`;
}
