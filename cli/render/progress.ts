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

/** Shows stages as they come; `quiet` shows nothing. */
export function createProgress(io: Io, options: { readonly quiet?: boolean; readonly width?: number } = {}): Progress {
  if (options.quiet === true) return { show: () => undefined, end: () => undefined };
  const live = io.isTty(2) && io.env['TERM'] !== 'dumb';
  const dim = hasColor(io, 2);
  let last = '';
  let ended = false;
  return {
    show(notice) {
      const text = printable(notice.detail === undefined || notice.detail === '' ? notice.stage : `${notice.stage}: ${notice.detail}`);
      if (text === last || ended) return;
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
