// vm console and vm logs as whole commands, against a scripted daemon.
import { mkdirSync, renameSync, rmSync, writeFileSync, appendFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeEach, describe, expect, test } from 'vitest';
import type { VmLogsResult } from '../core/api.ts';
import { eachDaemon } from './testing/each-daemon.ts';
import { type FakeDaemon, FakeError, type FakeStream } from './testing/fake-daemon.ts';
import { bangerProgram, runCli, startCli, startInTerminal, until } from './testing/run-cli.ts';

let daemon: FakeDaemon;
eachDaemon((made) => {
  daemon = made;
});

describe('vm console', () => {
  /** Serves the console with the handler; what the client sends is gathered. */
  function serve(handler: (stream: FakeStream) => Promise<void> | void): { text(): string } {
    let text = '';
    daemon.options = {
      methods: { 'vm.console': () => ({ ticket: 't' }) },
      exec: async (stream) => {
        void Promise.resolve(handler(stream));
        for await (const { kind, payload } of stream.frames) if (kind === 0) text += payload.toString('latin1');
      },
    };
    return { text: () => text };
  }
  const inTerminal = () => startInTerminal(`${bangerProgram()} vm console devbox; echo "status=$?"; stty -a`, daemon.env);

  test('in a terminal: raw both ways, left by Ctrl-], the terminal as it was', async () => {
    const typed = serve((stream) => void stream.send(16, '\x1b[2Jscreen\x07'));
    const cli = inTerminal();
    await until('the console', () => cli.out().includes('\x1b[2Jscreen\x07'));
    expect(cli.out()).toContain('Connected to the console of devbox; leave with Ctrl-]');
    cli.child.stdin!.write('\x03\x1a\x04a\r');
    await until('the keys', () => typed.text() === '\x03\x1a\x04a\r');
    cli.child.stdin!.write('b\x1dc');
    const { out } = await cli.result;
    expect(typed.text()).toBe('\x03\x1a\x04a\rb');
    expect(out).toContain('\x1b[?25h');
    expect(out).toMatch(/Left the console of devbox\r\nstatus=0\r\n/);
    expect(out).toMatch(/[^-]icanon/);
    expect(daemon.called('vm.console')).toEqual([{ ref: 'devbox' }]);
  });

  test('the key works also when nobody takes what is typed', async () => {
    daemon.options = { methods: { 'vm.console': () => ({ ticket: 't' }) }, exec: (stream) => void stream.send(16, 'frozen') };
    const cli = inTerminal();
    await until('the console', () => cli.out().includes('frozen'));
    // More than the sockets and the limit on what waits take together.
    for (let i = 0; i < 64; i += 1) cli.child.stdin!.write(Buffer.alloc(64 * 1024, 'x'));
    cli.child.stdin!.write('\x1d');
    expect((await cli.result).out).toContain('Left the console of devbox\r\nstatus=0');
  });

  test('without a terminal: every byte, and the end comes after the answer', async () => {
    const typed = serve(async (stream) => {
      await until('the input', () => typed.text() === 'ls\n\x1drest');
      await stream.send(16, 'listing\n');
      await stream.send(16, '\x1b[31mred');
    });
    const { code, stdout, err } = await runCli(['vm', 'console', 'devbox'], { env: daemon.env, input: 'ls\n\x1drest' });
    expect([code, stdout.toString(), err]).toEqual([0, 'listing\n\x1b[31mred', '']);
  });

  test('the end of the VM is told', async () => {
    serve((stream) => {
      void stream.send(16, 'bye\n');
      stream.exit({ code: 0 });
    });
    const { code, out, err } = await startCli(['vm', 'console', 'devbox'], { env: daemon.env, keepStdin: true }).result;
    expect([code, out, err]).toEqual([0, 'bye\n', 'The VM has ended, and its console with it\n']);
  });

  test('a connection that is lost is an error', async () => {
    serve((stream) => stream.destroy());
    const { code, err } = await startCli(['vm', 'console', 'devbox'], { env: daemon.env, keepStdin: true }).result;
    expect([code, err]).toEqual([1, 'banger: The connection to the console was lost\n']);
  });

  test('a console in use is refused before anything is said', async () => {
    daemon.options = { methods: { 'vm.console': () => {
      throw new FakeError('busy', 'The console of devbox is busy: somebody else is connected to it');
    } } };
    const { code, out, err } = await runCli(['vm', 'console', 'devbox'], { env: daemon.env });
    expect([code, out]).toEqual([1, '']);
    expect(err).toMatch(/^banger: The console of devbox is busy: somebody else is connected to it/);
  });

  test('TERM leaves with 143', async () => {
    serve((stream) => void stream.send(16, 'up'));
    const cli = startCli(['vm', 'console', 'devbox'], { env: daemon.env, keepStdin: true });
    await until('the console', () => cli.out() === 'up');
    cli.child.kill('SIGTERM');
    expect((await cli.result).code).toBe(143);
  });
});

describe('vm logs', () => {
  const path = (name: string): string => join(daemon.dir, 'console', name);
  let answer: VmLogsResult;
  beforeEach(() => {
    mkdirSync(join(daemon.dir, 'console'));
    answer = { boot: 1, files: [path('1.log')], boots: [{ boot: 1, bytes: 5, lastWriteAt: '2026-01-01T00:00:00.000Z' }], grows: true };
    daemon.options = { methods: { 'vm.logs': ({ params }) => {
      const { boot } = params as { boot?: number };
      return boot === undefined || boot <= 0 ? answer : { ...answer, boot, files: [path(`${boot}.log`)] };
    } } };
  });

  test('prints the older part first, with all its bytes', async () => {
    writeFileSync(path('1.log.1'), 'older \x1b[2J');
    writeFileSync(path('1.log'), 'newer\r\n');
    answer = { ...answer, files: [path('1.log.1'), path('1.log')] };
    expect((await runCli(['vm', 'logs', 'devbox', '-b', '-1'], { env: daemon.env })).out).toBe('older \x1b[2Jnewer\r\n');
    expect(daemon.called('vm.logs')).toEqual([{ ref: 'devbox', boot: -1 }]);
  });

  test('gives a terminal text and colours; --raw gives it everything', async () => {
    writeFileSync(path('1.log'), 'a\x1b[2J\x1b[32mgreen\x07\n');
    const shown = await startInTerminal(`${bangerProgram()} vm logs devbox`, daemon.env).result;
    expect(shown.out).toBe('a\x1b[32mgreen\r\n\x1b[0m');
    const raw = await startInTerminal(`${bangerProgram()} vm logs --raw devbox`, daemon.env).result;
    expect(raw.out).toBe('a\x1b[2J\x1b[32mgreen\x07\r\n');
  });

  test('follows over rotation and boots, skipping none, to the end of the VM', async () => {
    writeFileSync(path('1.log'), 'one ');
    const cli = startCli(['vm', 'logs', '-f', 'devbox'], { env: daemon.env });
    await until('the first words', () => cli.out() === 'one ');
    appendFileSync(path('1.log'), 'two ');
    await until('what was added', () => cli.out() === 'one two ');
    appendFileSync(path('1.log'), 'three ');
    renameSync(path('1.log'), path('1.log.1'));
    writeFileSync(path('1.log'), 'four ');
    await until('what came after the rotation', () => cli.out() === 'one two three four ');
    appendFileSync(path('1.log'), 'five ');
    writeFileSync(path('2.log'), 'second ');
    writeFileSync(path('3.log'), 'third ');
    answer = { ...answer, boot: 3, files: [path('3.log')], boots: [1, 2, 3].map((boot) => ({ boot, bytes: 1, lastWriteAt: '2026-01-01T00:00:00.000Z' })) };
    await until('the later boots', () => cli.out() === 'one two three four five second third ');
    appendFileSync(path('3.log'), 'last');
    answer = { ...answer, grows: false };
    const { code, out } = await cli.result;
    expect([code, out]).toEqual([0, 'one two three four five second third last']);
  });

  test('following ends when the VM is deleted', async () => {
    writeFileSync(path('1.log'), 'words');
    const cli = startCli(['vm', 'logs', '-f', 'devbox'], { env: daemon.env });
    await until('the words', () => cli.out() === 'words');
    rmSync(join(daemon.dir, 'console'), { recursive: true });
    daemon.options = { methods: { 'vm.logs': () => {
      throw new FakeError('not_found', 'No VM matches devbox');
    } } };
    expect((await cli.result).code).toBe(0);
  });

  test('a VM without log prints nothing; waits for its first boot when followed', async () => {
    answer = { files: [], boots: [], grows: true };
    expect((await runCli(['vm', 'logs', 'devbox'], { env: daemon.env })).out).toBe('');
    const cli = startCli(['vm', 'logs', '-f', 'devbox'], { env: daemon.env });
    await until('the question', () => daemon.called('vm.logs').length >= 2);
    writeFileSync(path('1.log'), 'booting');
    answer = { boot: 1, files: [path('1.log')], boots: [{ boot: 1, bytes: 1, lastWriteAt: '2026-01-01T00:00:00.000Z' }], grows: false };
    expect((await cli.result).out).toBe('booting');
  });

  test('--list-boots tells which there are, as a table and as JSON', async () => {
    answer = { ...answer, boots: [{ boot: 4, bytes: 2048, lastWriteAt: '2026-01-01T00:00:00.000Z' }, { boot: 5, bytes: 5, lastWriteAt: new Date().toISOString() }] };
    const listed = await runCli(['vm', 'logs', '--list-boots', 'devbox'], { env: daemon.env });
    expect(listed.out).toMatch(/^BOOT {2}BACK {2}SIZE {3}LAST WRITE\n4 {5}-1 {4}2 KiB {2}\d+ days ago\n5 {5}0 {5}5 B {4}just now\n$/);
    expect(JSON.parse((await runCli(['vm', 'logs', '--list-boots', '--json', 'devbox'], { env: daemon.env })).out)).toEqual(answer.boots);
    expect((await runCli(['vm', 'logs', '--json', 'devbox'], { env: daemon.env })).code).toBe(2);
  });
});
