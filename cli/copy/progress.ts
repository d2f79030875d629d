// The one line that shows how a copy goes: on a terminal only, taken back at the end.
import type { Io } from '../io.ts';
import { paint } from '../render/color.ts';
import { printable } from '../render/table.ts';
import { formatBytes } from '../render/units.ts';

export interface CopyProgress {
  /** So many more bytes have gone over; `name` is what they belong to. */
  moved(bytes: number, name?: string): void;
  at(name: string): void;
  /** A line that stays, above the live one. */
  say(line: string): void;
  /** Takes the live line back; nothing is shown after it. */
  end(): void;
}
export interface CopyProgressOptions {
  readonly quiet: boolean;
  /** Columns of the terminal. @default 80 */
  readonly width?: number | undefined;
  /** Milliseconds from any start. @default performance.now */
  readonly now?: () => number;
}

const redrawMs = 200;
/** The rate is that of the last two seconds or so. */
const rateSamples = 10;
const clear = '\r\u001b[K';

export function createCopyProgress(io: Io, options: CopyProgressOptions): CopyProgress {
  const live = !options.quiet && io.isTty(2) && io.env['TERM'] !== 'dumb';
  const now = options.now ?? (() => performance.now());
  const samples: { readonly at: number; readonly bytes: number }[] = [{ at: now(), bytes: 0 }];
  let bytes = 0;
  let name = '';
  let drawn = false;
  let ended = false;
  const wipe = (): void => {
    if (drawn) io.err(clear);
    drawn = false;
  };
  const draw = (): void => {
    const at = now();
    if (ended || at - samples.at(-1)!.at < redrawMs) return;
    samples.push({ at, bytes });
    if (samples.length > rateSamples) samples.shift();
    const first = samples[0]!;
    const rate = (bytes - first.bytes) / Math.max((at - first.at) / 1000, 0.001);
    const text = printable(`${formatBytes(bytes)}  ${formatBytes(Math.round(rate))}/s  ${name}`).slice(0, (options.width ?? 80) - 1);
    io.err(`${clear}${paint(text, 'dim', { io, fd: 2 })}`);
    drawn = true;
  };
  return {
    moved(more, what) {
      bytes += more;
      name = what ?? name;
      if (live) draw();
    },
    at(what) {
      name = what;
      if (live) draw();
    },
    say(line) {
      wipe();
      io.err(`${line}\n`);
    },
    end() {
      wipe();
      ended = true;
    },
  };
}
