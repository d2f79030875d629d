// Stages of an operation on stderr: one line that changes on a terminal, a line each elsewhere.
import type { ProgressNotice } from '../../core/api.ts';
import type { Io } from '../io.ts';
import { hasColor } from './color.ts';
import { printable } from './table.ts';

export interface Progress {
  show(notice: Pick<ProgressNotice, 'stage' | 'detail'>): void;
  /** Removes the live line; nothing is shown after it. */
  end(): void;
}

export interface ProgressOptions {
  /** Shows nothing. */
  readonly quiet?: boolean;
  /** Columns of the terminal. @default 80 */
  readonly width?: number;
  /** Milliseconds from any start. @default performance.now */
  readonly now?: () => number;
}

/** Shows stages as they come; in lines, a counter is shown about every tenth and at least every five seconds. */
export function createProgress(io: Io, options: ProgressOptions = {}): Progress {
  if (options.quiet === true) return { show: () => undefined, end: () => undefined };
  const live = io.isTty(2) && io.env['TERM'] !== 'dumb';
  const dim = hasColor(io, 2);
  const isDue = createThrottle(options.now ?? (() => performance.now()));
  let last = '';
  let ended = false;
  return {
    show(notice) {
      const text = printable(notice.detail === undefined || notice.detail === '' ? notice.stage : `${notice.stage}: ${notice.detail}`);
      if (text === last || ended) return;
      if (!live && !isDue(text)) return;
      last = text;
      // Cut to the terminal: a wrapped line could not be taken back.
      const line = live ? text.slice(0, (options.width ?? 80) - 3) : text;
      io.err(live ? `\r\u001b[K${dim ? `\u001b[2m${line}\u001b[0m` : line}` : `  ${line}\n`);
    },
    end() {
      if (live && last !== '' && !ended) io.err('\r\u001b[K');
      ended = true;
    },
  };
}

const counter = /(\d+)\/(\d+)|(\d+) ?%|\d+(\.\d+)? [KMG]iB/;
const lineEveryMs = 5000;

/** Whether a line is worth printing: always when it counts nothing, else at each tenth of what it counts and after five seconds. */
function createThrottle(now: () => number): (text: string) => boolean {
  const shown = new Map<string, { readonly tenth: number; readonly at: number }>();
  return (text) => {
    const match = counter.exec(text);
    if (!match) return true;
    const kind = text.replace(counter, '#');
    const [, done, total, percent] = match;
    const tenth = Math.floor(done === undefined ? Number(percent ?? 0) / 10 : (Number(done) * 10) / Math.max(Number(total), 1));
    const before = shown.get(kind);
    if (before && tenth === before.tenth && now() - before.at < lineEveryMs) return false;
    shown.set(kind, { tenth, at: now() });
    return true;
  };
}
