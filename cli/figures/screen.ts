// One screen of `vm top`, as lines that fit: pure, so that a test can hold each column to its place.
import type { VmStats } from '../../core/api.ts';
import { diskBytes, figureCells, figureHeaders, figureNotes } from './cells.ts';

export type SortKey = 'cpu' | 'mem' | 'name' | 'disk' | 'uptime';
export const sortKeys: readonly SortKey[] = ['cpu', 'mem', 'name', 'disk', 'uptime'];

export interface ScreenOptions {
  readonly cols: number;
  readonly rows: number;
  readonly sort: SortKey;
  /** Shown at the right of the first line. */
  readonly time: string;
}
/** Widths of all columns but the first, by header. */
const widths: readonly number[] = [7, 6, 10, 5, 5, 11, 6];
/** Narrower than this a name says nothing; then columns go, the last ones first. */
const leastName = 8;
const mostName = 40;
const mostNotes = 3;

/** At most `rows` lines of at most `cols` characters, all of them printable ASCII. */
export function topScreen(stats: readonly VmStats[], options: ScreenOptions): string[] {
  const { cols, rows } = options;
  const sorted = sortStats(stats, options.sort);
  const shown = columnsFor(cols);
  const notes = figureNotes(sorted.filter((entry) => !entry.stale)).slice(0, Math.max(0, Math.min(mostNotes, rows - 6)));
  const room = Math.max(0, rows - 3 - notes.length);
  // The line that says how many are left out takes the place of one.
  const isCut = sorted.length > room;
  const visible = sorted.slice(0, isCut ? Math.max(0, room - 1) : room);
  const lines = [
    title(stats, options), row(figureHeaders, shown), ...visible.map((entry) => row(figureCells(entry), shown)),
    ...(isCut && room > 0 ? [`${sorted.length - visible.length} more: a higher window shows them`] : []), ...notes,
    'sort: c CPU, m memory, n name, d disk, u uptime; q quits',
  ];
  return lines.slice(0, rows).map((line) => plain(line).slice(0, cols));
}

export function sortStats(stats: readonly VmStats[], key: SortKey): VmStats[] {
  const byName = (a: VmStats, b: VmStats): number => (a.vm.name < b.vm.name ? -1 : a.vm.name > b.vm.name ? 1 : 0);
  if (key === 'name') return stats.toSorted(byName);
  const value = ({ state, host, guest, disks, uptimeSeconds }: VmStats): number => {
    if (key === 'disk') return diskBytes(disks);
    // Last figures of what does not run do not come before those of what does.
    if (state === 'stopped') return -2;
    const figure = key === 'cpu' ? host?.cpuPercent : key === 'mem' ? guest?.memory?.usedBytes ?? host?.rssBytes : uptimeSeconds;
    return figure ?? -1;
  };
  return stats.toSorted((a, b) => value(b) - value(a) || byName(a, b));
}

function title(stats: readonly VmStats[], { cols, time, sort }: ScreenOptions): string {
  const count = (state: VmStats['state']): number => stats.filter((entry) => entry.state === state).length;
  const live = stats.filter((entry) => entry.state !== 'stopped');
  const cpu = live.reduce((sum, { host }) => sum + (host?.cpuPercent ?? 0), 0);
  const paused = count('paused');
  const left = `banger: ${count('running')} running${paused === 0 ? '' : `, ${paused} paused`}, ${count('stopped')} stopped; CPU ${cpu.toFixed(0)} %; by ${sort}`;
  return left.length + time.length + 2 > cols ? left : left.padEnd(cols - time.length) + time;
}

/** Indexes of the columns that fit, with the width of each. */
function columnsFor(cols: number): readonly (readonly [index: number, width: number])[] {
  let count = widths.length;
  const needed = (): number => widths.slice(0, count).reduce((sum, width) => sum + width + 2, 0);
  while (count > 0 && needed() + leastName > cols) count -= 1;
  const name = Math.max(1, Math.min(mostName, cols - needed()));
  return [[0, name], ...widths.slice(0, count).map((width, index) => [index + 1, width] as const)];
}

/** Name and state to the left, figures to the right. */
function row(cells: readonly string[], columns: ReturnType<typeof columnsFor>): string {
  return columns.map(([index, width]) => {
    const text = cells[index] ?? '';
    const cut = text.length > width && index === 0 ? `${text.slice(0, width - 1)}~` : text;
    return index < 2 ? cut.padEnd(width) : cut.padStart(width);
  }).join('  ').trimEnd();
}

/** A guest may have had a hand in a note; a character that is two wide would break the line. */
const plain = (text: string): string => text.replaceAll(/[^\u0020-\u007e]/g, '?');
