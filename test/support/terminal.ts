// A command on a terminal of its own, typed at and read.
import { spawn } from 'node:child_process';
import { waitFor } from './wait.ts';

export interface Terminal {
  type(text: string): void;
  /** Waits until the screen shows the pattern after everything that was awaited before. */
  see(pattern: RegExp): Promise<void>;
  readonly exit: Promise<number | null>;
}

/** util-linux's script gives the shell command a terminal and hands on its exit code. */
export function openTerminal(command: string, env: NodeJS.ProcessEnv): Terminal {
  const child = spawn('script', ['-qec', command, '/dev/null'], { env: { ...env, TERM: 'xterm' }, stdio: ['pipe', 'pipe', 'inherit'] });
  let screen = '';
  child.stdout.on('data', (chunk: Buffer) => {
    // A byte a character: a console may cut one in two.
    screen += chunk.toString('latin1');
  });
  const exit = new Promise<number | null>((resolve) => child.on('close', resolve));
  return {
    type: (text) => child.stdin.write(text),
    see: async (pattern) => {
      await waitFor(`${String(pattern)} on the screen`, () => {
        const found = pattern.exec(screen);
        if (found === null) return false;
        screen = screen.slice(found.index + found[0].length);
        return true;
      });
    },
    exit,
  };
}
