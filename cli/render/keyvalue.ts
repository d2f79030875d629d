import { printable } from './table.ts';

/** Aligned `key  value` rows; undefined values are left out. Ends with a newline. */
export function keyValue(rows: readonly (readonly [string, unknown])[]): string {
  const shown = rows.filter(([, value]) => value !== undefined && value !== '');
  const width = Math.max(0, ...shown.map(([key]) => key.length));
  return shown.map(([key, value]) => `${key.padEnd(width)}  ${printable(cellText(value))}\n`).join('');
}

/** A JSON value in one cell: lists joined by commas, objects as `key=value`. */
export function cellText(value: unknown): string {
  if (value === null || value === undefined) return '';
  if (typeof value === 'string') return value;
  if (Array.isArray(value)) return value.map(cellText).join(', ');
  if (typeof value === 'object') return Object.entries(value).map(([key, part]) => `${key}=${cellText(part)}`).join(' ');
  return String(value as number | boolean);
}
