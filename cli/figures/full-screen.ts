// A terminal taken over as a whole: raw keys, the other screen, no cursor; given back on every way out but SIGKILL.
import { BrokenPipe, writeAll } from '../io.ts';

export interface FullScreen {
  size(): { readonly cols: number; readonly rows: number };
  paint(lines: readonly string[]): void;
  /** Safe to call again. */
  close(): void;
}
export interface FullScreenEvents {
  onKey(key: string): void;
  /** Another size, or back from a stop. */
  onRepaint(): void;
  /** The terminal is gone. */
  onEnd(): void;
}

const enter = '\u001b[?1049h\u001b[?25l';
const leave = '\u001b[?25h\u001b[?1049l';

/** What arrows, function keys and Alt with a key send: nobody listens to those, nor to the letters in them. */
// oxlint-disable-next-line no-control-regex -- control characters are the point
const specialKey = /\u001b(?:\[[0-?]*[ -/]*[@-~]?|O.?|.?)/gsu;

export function openFullScreen({ onKey, onRepaint, onEnd }: FullScreenEvents): FullScreen {
  const { stdin, stdout } = process;
  let isOpen = true;
  const keys = (chunk: Buffer): void => {
    for (const key of chunk.toString('latin1').replaceAll(specialKey, '')) onKey(key);
  };
  const resume = (): void => {
    // Whoever had the terminal meanwhile has set it to his liking.
    stdin.setRawMode(false);
    stdin.setRawMode(true);
    writeAll(1, enter);
    onRepaint();
  };
  const close = (): void => {
    if (!isOpen) return;
    isOpen = false;
    process.off('exit', close);
    process.off('SIGCONT', resume);
    stdout.off('resize', onRepaint);
    stdin.off('data', keys);
    stdin.off('end', onEnd);
    stdin.pause();
    try {
      if (stdin.isRaw) stdin.setRawMode(false);
      writeAll(1, leave);
    } catch (error) {
      // A terminal that is gone needs nothing given back.
      if (!(error instanceof BrokenPipe) && (error as NodeJS.ErrnoException).code !== 'EIO') throw error;
    }
  };
  // Uncaught errors and process.exit pass here too.
  process.on('exit', close);
  process.on('SIGCONT', resume);
  stdout.on('resize', onRepaint);
  stdin.on('data', keys);
  stdin.on('end', onEnd);
  stdin.on('error', onEnd);
  stdin.setRawMode(true);
  writeAll(1, enter);
  return {
    size: () => ({ cols: stdout.columns || 80, rows: stdout.rows || 24 }),
    paint(lines) {
      // Each line is cleared behind its text, and what is below the last one: no frame flickers. The last line ends without a newline.
      if (isOpen) writeAll(1, `\u001b[H${lines.map((line) => `${line}\u001b[K`).join('\r\n')}\u001b[J`);
    },
    close,
  };
}
