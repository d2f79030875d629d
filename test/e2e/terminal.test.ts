// A terminal as with ssh: size, Ctrl-C to the foreground job only, job control, the shell's own exit code.
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { makeHost, type Host } from '../support/host.ts';
import { repoRoot } from '../support/source-tree.ts';
import { openTerminal } from '../support/terminal.ts';

let host: Host;
beforeAll(async () => {
  host = await makeHost();
  await host.ok(['vm', 'run', '--name', 'tty', '-d']);
});
afterAll(async () => {
  await host.dispose();
});

test('a shell in the guest has the size of the terminal, job control and Ctrl-C', async () => {
  const terminal = openTerminal(`stty rows 33 cols 101; exec ${join(repoRoot, 'bin', 'banger')} vm exec tty`, host.env);
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
