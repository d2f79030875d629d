// The process's own streams for a session, and raw mode that is always undone.
import type { Io } from './io.ts';
import { processOutput } from './output.ts';
import type { SessionStreams } from './session.ts';

const shells = new Set(['sh', 'ash', 'bash', 'dash', 'fish', 'ksh', 'zsh']);
const shellSwitches = new Set(['-i', '-l', '-il', '-li', '--login', '--interactive']);

/** Whether a command is a shell to type into; empty is the login shell. */
export function isInteractiveShell(command: readonly string[]): boolean {
  const [program, ...rest] = command;
  return program === undefined || (shells.has(program.slice(program.lastIndexOf('/') + 1)) && rest.every((word) => shellSwitches.has(word)));
}

export interface TerminalWish {
  /** `-t`. */
  readonly tty: boolean;
  /** Not `-n`. */
  readonly stdin: boolean;
  readonly command: readonly string[];
}
export interface OpenStreams {
  readonly streams: SessionStreams;
  /** For `vm.exec`; absent without a terminal. */
  readonly tty?: { readonly cols: number; readonly rows: number; readonly term: string };
  /** Gives the terminal its mode back. Safe to call again. */
  restore(): void;
}

/** Whether the session gets a terminal: both ends are one, and it was asked for or a shell is run. */
export const wantsTerminal = (io: Io, wish: TerminalWish): boolean =>
  wish.stdin && io.isTty(0) && io.isTty(1) && (wish.tty || isInteractiveShell(wish.command));

/** Opens stdin, stdout and stderr for a session; in terminal mode stdin is raw until `restore`. */
export function openStreams(io: Io, wish: TerminalWish): OpenStreams {
  if (wantsTerminal(io, wish)) return openTerminal(io);
  return {
    streams: {
      stdout: processOutput(1), stderr: processOutput(2),
      ...(wish.stdin ? { stdin: process.stdin as AsyncIterable<Buffer> } : {}),
    },
    restore: () => undefined,
  };
}

function openTerminal(io: Io): OpenStreams {
  const { stdin, stdout } = process;
  const size = (): { cols: number; rows: number } => ({ cols: stdout.columns || 80, rows: stdout.rows || 24 });
  // A terminal has a way of its own to end: uncaught errors and process.exit pass here too.
  const restore = (): void => {
    process.off('exit', restore);
    if (stdin.isRaw) stdin.setRawMode(false);
  };
  process.on('exit', restore);
  stdin.setRawMode(true);
  return {
    streams: {
      stdin: stdin as AsyncIterable<Buffer>, stdout: processOutput(1), stderr: processOutput(2),
      terminal: {
        size,
        onResize(listener) {
          stdout.on('resize', listener);
          return () => stdout.off('resize', listener);
        },
      },
    },
    tty: { ...size(), term: (io.env['TERM'] ?? 'xterm').slice(0, 64) },
    restore,
  };
}
