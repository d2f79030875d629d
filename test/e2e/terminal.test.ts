// A terminal as with ssh: size, Ctrl-C to the foreground job only, job control, the shell's own exit code.
import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { makeHost, type Host } from '../support/host.ts';
import { repoRoot } from '../support/source-tree.ts';
import { waitFor } from '../support/wait.ts';

let host: Host;
beforeAll(async () => {
  host = await makeHost();
  await host.ok(['vm', 'run', '--name', 'tty', '-d']);
});
afterAll(async () => {
  await host.dispose();
});

interface Terminal {
  type(text: string): void;
  /** Waits until the screen shows the pattern after everything that was awaited before. */
  see(pattern: RegExp): Promise<void>;
  readonly exit: Promise<number | null>;
}

/** util-linux's script gives the command a terminal of its own and hands on its exit code. */
function openTerminal(command: string): Terminal {
  const child = spawn('script', ['-qec', `stty rows 33 cols 101; exec ${command}`, '/dev/null'], { env: { ...host.env, TERM: 'xterm' }, stdio: ['pipe', 'pipe', 'inherit'] });
  let screen = '';
  child.stdout.on('data', (chunk: Buffer) => {
    screen += chunk.toString();
  });
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
    exit: new Promise((resolve) => child.on('close', resolve)),
  };
}

test('a shell in the guest has the size of the terminal, job control and Ctrl-C', async () => {
  const terminal = openTerminal(`${join(repoRoot, 'bin', 'banger')} vm exec tty`);
  terminal.type("PS1='ready> '\n");
  await terminal.see(/ready> (?!')/);
  terminal.type('stty size\n');
  await terminal.see(/33 101/);
  terminal.type('echo begun; sleep 1000\n');
  await terminal.see(/begun(?!;)/);
  terminal.type('\x03');
  await terminal.see(/ready> /);
  terminal.type('echo status=$?\n');
  await terminal.see(/status=130/);
  terminal.type('sleep 1000 & jobs\n');
  await terminal.see(/\[1\].*Running/);
  terminal.type('echo back; fg\n');
  await terminal.see(/back(?!;)[^]*sleep 1000/);
  terminal.type('\x1a');
  await terminal.see(/Stopped/);
  terminal.type('kill %1; exit 7\n');
  terminal.type('exit 7\n');
  expect(await terminal.exit).toBe(7);
});
