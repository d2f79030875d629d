// The serial console: a shell with the agent as PID 1 and with systemd, also when the agent does not answer; logs by boot.
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { makeHost, type Host } from '../support/host.ts';
import { repoRoot } from '../support/source-tree.ts';
import { openTerminal, type Terminal } from '../support/terminal.ts';
import { waitFor } from '../support/wait.ts';

let host: Host;
beforeAll(async () => {
  host = await makeHost();
});
afterAll(async () => {
  await host.dispose();
});

const openConsole = (name: string): Terminal => openTerminal(`exec ${join(repoRoot, 'bin', 'banger')} vm console ${name}`, host.env);

/** Enter until somebody answers: a guest that has just come up may not listen yet. */
async function enter(terminal: Terminal): Promise<void> {
  await terminal.see(/leave with Ctrl-\]/);
  const again = setInterval(() => terminal.type('\r'), 1000);
  try {
    await terminal.see(/# /);
  } finally {
    clearInterval(again);
  }
}

async function leave(terminal: Terminal, name: string): Promise<void> {
  terminal.type('\x1d');
  await terminal.see(new RegExp(`Left the console of ${name}`));
  expect(await terminal.exit).toBe(0);
}

const logs = async (...flags: string[]): Promise<string> => (await host.ok(['vm', 'logs', 'cons', ...flags])).out;
const boots = async (): Promise<number[]> => (JSON.parse(await logs('--list-boots', '--json')) as { boot: number }[]).map(({ boot }) => boot);

describe('the agent as PID 1', () => {
  beforeAll(async () => {
    await host.ok(['vm', 'run', '--name', 'cons', '-d']);
  });

  test('nothing is written to the console before somebody comes', async () => {
    expect(await logs()).not.toMatch(/Enter|shell|login/i);
  });

  test('Enter gives a login shell with job control; after its end Enter gives another; Ctrl-] leaves it where it is', async () => {
    const terminal = openConsole('cons');
    await enter(terminal);
    terminal.type('tty; echo "$0:$HOME:$((6*7))"\r');
    await terminal.see(/\/dev\/(console|ttyS0)\r+\n-[a-z]+:\/root:42/);
    terminal.type('sleep 1000\r');
    await terminal.see(/sleep 1000\r+\n/);
    terminal.type('\x03');
    await terminal.see(/# /);
    terminal.type('echo status=$?\r');
    await terminal.see(/status=130/);
    terminal.type('exit\r');
    await terminal.see(/logout/);
    const again = setInterval(() => terminal.type('\r'), 1000);
    await terminal.see(/# /).finally(() => clearInterval(again));
    terminal.type('kept=yes; echo set-$kept\r');
    await terminal.see(/set-yes/);
    const busy = await host.banger(['vm', 'console', 'cons'], { input: '' });
    expect(busy.err).toMatch(/The console of cons is busy: somebody else is connected to it/);
    expect(busy.code).toBe(1);
    await leave(terminal, 'cons');
    const piped = await host.ok(['vm', 'console', 'cons'], { input: 'echo still-$kept\r' });
    expect(piped.out).toMatch(/still-yes/);
    expect(await logs()).toContain('still-yes');
  });

  test('works after a restart of the daemon, and its socket is its owner\'s alone', async () => {
    await host.killDaemon();
    await host.ok(['vm', 'list']);
    expect((await host.ok(['vm', 'console', 'cons'], { input: 'echo daemon-$((1+1))\r' })).out).toContain('daemon-2');
  });

  test('a reboot by the guest and a restart have logs of their own, and following goes over both to the stop', async () => {
    expect(await boots()).toEqual([1]);
    const follow = host.spawnCli(['vm', 'logs', '-f', 'cons']);
    let followed = '';
    follow.stdout!.on('data', (chunk: Buffer) => { followed += chunk.toString(); });
    const ended = new Promise((resolve) => follow.on('close', resolve));
    await host.ok(['vm', 'exec', 'cons', '--', 'sh', '-c', 'echo first-words > /dev/console']);
    await host.banger(['vm', 'exec', 'cons', '--', 'reboot']);
    await waitFor('the guest to be up again', async () => (await host.vm('cons')).reboots === 1);
    expect(await boots()).toEqual([1, 2]);
    await host.ok(['vm', 'exec', 'cons', '--', 'sh', '-c', 'echo second-words > /dev/console']);
    expect(await logs()).toMatch(/second-words/);
    expect(await logs()).not.toMatch(/first-words/);
    expect(await logs('--boot', '-1')).toMatch(/still-yes[^]*first-words/);
    expect(await logs('--boot', '1')).toBe(await logs('--boot', '-1'));
    await waitFor('both boots to be followed', () => /first-words[^]*second-words/.test(followed));
    await host.ok(['vm', 'stop', 'cons']);
    expect(await ended).toBe(0);
    expect(existsSync(join(host.stateDir, 'vms'))).toBe(true);
    await host.ok(['vm', 'start', 'cons']);
    expect(await boots()).toEqual([1, 2, 3]);
    expect(await logs('-b', '2')).toMatch(/second-words/);
    const unknown = await host.banger(['vm', 'logs', 'cons', '-b', '7']);
    expect(unknown.err).toMatch(/VM cons has no console log of boot 7: kept are those of boot 1 to 3/);
  });

  test('its end is told, and a stopped VM has logs and no console', async () => {
    const terminal = openConsole('cons');
    await terminal.see(/leave with Ctrl-\]/);
    await host.ok(['vm', 'kill', 'cons']);
    await terminal.see(/The VM has ended/);
    expect(await terminal.exit).toBe(0);
    expect(await boots()).toEqual([1, 2, 3]);
    expect((await host.banger(['vm', 'console', 'cons'])).err).toMatch(/VM cons is not running/);
    expect(readdirSync(host.stateDir, { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith('console') && !name.startsWith('vms/'))).toEqual([]);
    await host.ok(['vm', 'delete', 'cons']);
  });
});

describe('systemd', () => {
  /** What the drop-in runs, without its port and terminal. */
  const gettyCommand = async (): Promise<string> => {
    const dropIn = (await host.ok(['vm', 'exec', 'sysd', '--', 'cat', '/run/systemd/system/serial-getty@ttyS0.service.d/00-banger.conf'])).out;
    return /^ExecStart=-(.* )- \$TERM$/m.exec(dropIn)![1]!.trim();
  };

  test('root gets a shell at Enter, also when the agent does not answer; a getty that has the terminal keeps it', async () => {
    await host.ok(['vm', 'run', '--name', 'sysd', '--init', 'image', '-d'], { timeoutMs: 240_000 });
    const terminal = openConsole('sysd');
    await enter(terminal);
    terminal.type('pkill -STOP -f "agent serve"; echo stopped-$((40+2))\r');
    await terminal.see(/stopped-42/);
    terminal.type('cat /proc/1/comm; ps -o stat= -p $(pgrep -f "agent serve")\r');
    await terminal.see(/systemd\r+\nT/);
    terminal.type('pkill -CONT -f "agent serve"; exit\r');
    await terminal.see(/logout/);
    // As the drop-in for systemd's getty has it; the image has that one masked.
    await host.ok(['vm', 'exec', 'sysd', '--', 'sh', '-c', `setsid sh -c 'exec ${await gettyCommand()} ttyS0 vt220' > /dev/null 2>&1 &`]);
    await waitFor('the getty to have the terminal', async () => (await host.ok(['vm', 'exec', 'sysd', '--', 'ps', '-C', 'agetty', '-o', 'tty='])).out.trim() === 'ttyS0');
    const again = setInterval(() => terminal.type('\r'), 1000);
    await terminal.see(/# /).finally(() => clearInterval(again));
    terminal.type('cat /proc/$PPID/comm; tty; id -un\r');
    await terminal.see(/login\r+\n\/dev\/ttyS0\r+\nroot/);
    await leave(terminal, 'sysd');
    await host.ok(['vm', 'kill', 'sysd']);
  }, 240_000);
});
