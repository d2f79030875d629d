// Commands in a guest: bytes, exit codes, signals, terminals. The guest is scripted.
import { execFileSync } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { eachDaemon } from './testing/each-daemon.ts';
import { type FakeDaemon, FakeError, type FakeStream } from './testing/fake-daemon.ts';
import { bangerProgram, runCli, startCli, startInTerminal, until, type CliResult } from './testing/run-cli.ts';

let daemon: FakeDaemon;
eachDaemon((made) => {
  daemon = made;
});
const banger = (words: string[], input?: string | Buffer): Promise<CliResult> => runCli(words, { env: daemon.env, ...(input === undefined ? {} : { input }) });
const sha = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');
const exits = (value: object): { exec: (stream: FakeStream) => void } => ({ exec: (stream) => stream.exit(value) });
const megabytes = 10;

/** Ends the command when its stdin ends; answers what came. */
async function readStdin(stream: FakeStream): Promise<Buffer> {
  const parts: Buffer[] = [];
  for await (const { kind, payload } of stream.frames) {
    if (kind !== 0) continue;
    if (payload.length === 0) break;
    parts.push(payload);
  }
  return Buffer.concat(parts);
}

describe('exit codes', () => {
  test.each([
    [{ code: 0 }, 0], [{ code: 42 }, 42], [{ code: 127 }, 127], [{ signal: 'KILL', number: 9 }, 137], [{ signal: 'TERM', number: 15 }, 143],
    [{ error: { code: 'not_running', opId: 'op-1', message: 'VM devbox is not running' } }, 125],
  ])('%j', async (exit, code) => {
    daemon.options = exits(exit);
    expect((await banger(['vm', 'exec', 'devbox', '--', 'x'])).code).toBe(code);
    expect((await banger(['vm', 'run', '--rm', '-q', '--', 'x'])).code).toBe(code);
    expect(daemon.called('vm.delete')).toEqual([{ ref: 'dddddddddddd' }]);
  });
  test('an exec that the daemon refuses exits 125', async () => {
    daemon.options = { methods: { 'vm.exec': () => {
      throw new FakeError('not_found', 'No VM matches nobody');
    } } };
    expect(await banger(['vm', 'exec', 'nobody', '--', 'true'])).toMatchObject({ code: 125, err: 'banger: No VM matches nobody\n(op-fake01)\n' });
  });
  test('a connection lost while the command runs exits 125 and says so; --rm still deletes', async () => {
    daemon.options = { exec: (stream) => stream.destroy() };
    const result = await banger(['vm', 'run', '--rm', '-q', '--', 'x']);
    expect(result).toMatchObject({ code: 125, err: 'banger: The connection was lost while the command ran\n' });
    expect(daemon.called('vm.delete')).toHaveLength(1);
  });
  test('run asks for a lease only with --rm, and hands on command and environment', async () => {
    daemon.options = exits({ code: 0 });
    await banger(['vm', 'run', '-q', '-e', 'A=1', '--', 'sh', '-c', '--', '--rm']);
    expect(daemon.called('vm.create')).toEqual([{ env: { A: '1' }, start: true }]);
    expect(daemon.called('vm.exec')).toEqual([{ ref: 'dddddddddddd', command: ['sh', '-c', '--', '--rm'], stdin: true }]);
    expect(daemon.called('vm.delete')).toEqual([]);
    await banger(['vm', 'run', '-q', '--rm', '-n', '--', 'true']);
    expect(daemon.called('vm.create')[1]).toEqual({ start: true, lease: true });
    expect(daemon.called('vm.exec')[1]).toMatchObject({ stdin: false });
  });
  test('-d prints the name and runs nothing', async () => {
    expect(await banger(['vm', 'run', '-d', '-q', '--name', 'box'])).toMatchObject({ code: 0, out: 'box\n', err: '' });
    expect(daemon.called('vm.exec')).toEqual([]);
  });
});

describe('bytes', () => {
  test(`${megabytes} MB of stdout and of stderr arrive whole and apart`, async () => {
    const [out, err] = [randomBytes(megabytes * 1024 * 1024), randomBytes(megabytes * 1024 * 1024)];
    daemon.options = { exec: async (stream) => {
      for (let at = 0; at < out.length; at += 256 * 1024) {
        await stream.send(16, out.subarray(at, at + 256 * 1024));
        await stream.send(17, err.subarray(at, at + 256 * 1024));
      }
      stream.exit({ code: 3 });
    } };
    const cli = startCli(['vm', 'exec', 'devbox', '--', 'x'], { env: daemon.env });
    const errors: Buffer[] = [];
    cli.child.stderr!.on('data', (chunk: Buffer) => errors.push(chunk));
    const result = await cli.result;
    expect([result.code, sha(result.stdout), sha(Buffer.concat(errors))]).toEqual([3, sha(out), sha(err)]);
  });
  test(`${megabytes} MB of stdin arrive whole, then the end`, async () => {
    const input = randomBytes(megabytes * 1024 * 1024);
    daemon.options = { exec: async (stream) => {
      const got = await readStdin(stream);
      await stream.send(16, sha(got));
      stream.exit({ code: 0 });
    } };
    expect(await banger(['vm', 'exec', 'devbox', '--', 'x'], input)).toMatchObject({ code: 0, out: sha(input) });
  });
  test('a command that ends without reading its stdin ends the call', async () => {
    daemon.options = exits({ code: 7 });
    const cli = startCli(['vm', 'exec', 'devbox', '--', 'x'], { env: daemon.env, keepStdin: true });
    expect((await cli.result).code).toBe(7);
  });
  test('a reader that takes nothing holds the command back', async () => {
    let sent = 0;
    let stalled = false;
    daemon.options = { exec: async (stream) => {
      const block = Buffer.alloc(1024 * 1024);
      for (; sent < 64 && !stalled; sent += 1) {
        // Not out within a second: the pipe, the sockets and the client's one frame are full.
        stalled = await Promise.race([stream.send(16, block).then(() => false), new Promise<true>((done) => setTimeout(() => done(true), 1000))]);
      }
    } };
    const cli = startCli(['vm', 'exec', 'devbox', '--', 'x'], { env: daemon.env, keepStdin: true });
    cli.child.stdout!.pause();
    await until('the sender to be held back', () => stalled || sent === 64);
    expect(stalled).toBe(true);
    cli.child.kill('SIGHUP');
    cli.child.stdout!.resume();
    expect((await cli.result).code).toBe(129);
  });
  test('a closed stdout ends the command and exits 141; --rm deletes', async () => {
    let closed = false;
    daemon.options = { exec: async (stream) => {
      void stream.closed.then(() => {
        closed = true;
      });
      while (!closed) await stream.send(16, Buffer.alloc(65_536));
    } };
    const cli = startCli(['vm', 'run', '--rm', '-q', '--', 'yes'], { env: daemon.env });
    cli.child.stdout!.once('data', () => cli.child.stdout!.destroy());
    expect(await cli.result).toMatchObject({ code: 141, err: '' });
    expect(daemon.called('vm.delete')).toHaveLength(1);
    await until('the stream to be closed', () => closed);
  });
});

describe('signals', () => {
  const frames: string[] = [];
  const recordSignals = async (stream: FakeStream): Promise<void> => {
    frames.length = 0;
    await stream.send(16, 'up');
    for await (const { kind, payload } of stream.frames) {
      if (kind === 2) frames.push(payload.toString());
      if (frames.at(-1) === 'TERM') stream.exit({ signal: 'TERM', number: 15 });
    }
    frames.push('closed');
  };
  const startRunning = async (...words: string[]): Promise<ReturnType<typeof startCli>> => {
    daemon.options = { exec: recordSignals };
    const cli = startCli(words, { env: daemon.env, keepStdin: true });
    await until('the command to run', () => cli.out() === 'up');
    return cli;
  };
  test('the first Ctrl-C goes to the command, the second gives up; --rm deletes', async () => {
    const cli = await startRunning('vm', 'run', '--rm', '-q', '--', 'x');
    cli.child.kill('SIGINT');
    await until('the signal to arrive', () => frames.includes('INT'));
    cli.child.kill('SIGINT');
    expect(await cli.result).toMatchObject({ code: 130, err: '' });
    expect(daemon.called('vm.delete')).toEqual([{ ref: 'dddddddddddd' }]);
    await until('the stream to close', () => frames.at(-1) === 'closed');
    expect(frames).toEqual(['INT', 'closed']);
  });
  test('SIGTERM goes to the command, whose end counts', async () => {
    const cli = await startRunning('vm', 'exec', 'devbox', '--', 'x');
    cli.child.kill('SIGTERM');
    expect((await cli.result).code).toBe(143);
  });
  test('SIGHUP ends this side at once', async () => {
    const cli = await startRunning('vm', 'exec', 'devbox', '--', 'x');
    cli.child.kill('SIGHUP');
    expect((await cli.result).code).toBe(129);
  });
});

describe('a terminal', () => {
  const resizes: string[] = [];
  let typed = '';
  const shell = async (stream: FakeStream): Promise<void> => {
    typed = '';
    resizes.length = 0;
    await stream.send(16, 'prompt$ ');
    for await (const { kind, payload } of stream.frames) {
      if (kind === 1) resizes.push(payload.toString());
      if (kind === 0) typed += payload.toString();
      if (typed.endsWith('q')) stream.exit({ code: 5 });
    }
  };
  const stty = (tty: string, ...words: string[]): string => execFileSync('stty', ['-F', tty, ...words], { encoding: 'utf8' });
  const start = async (words: string): Promise<{ cli: ReturnType<typeof startInTerminal>; tty: string; pid(): number }> => {
    daemon.options = { exec: shell };
    const ttyFile = join(daemon.dir, 'tty');
    const cli = startInTerminal(`tty > ${ttyFile}; stty -a > ${daemon.dir}/before; sh -c 'echo $$ > ${daemon.dir}/pid; exec ${bangerProgram()} ${words}'; code=$?; stty -a > ${daemon.dir}/after; exit $code`, daemon.env);
    await until('the prompt', () => cli.out().includes('prompt$'));
    return { cli, tty: readFileSync(ttyFile, 'utf8').trim(), pid: () => Number(readFileSync(join(daemon.dir, 'pid'), 'utf8')) };
  };
  const modes = (name: string): string => readFileSync(join(daemon.dir, name), 'utf8').replaceAll(/rows \d+; columns \d+;/g, '');

  test('is raw while a shell runs, follows resizes, passes Ctrl-C as a byte, and is restored', async () => {
    const { cli, tty } = await start('vm exec devbox');
    expect(daemon.called('vm.exec')[0]).toMatchObject({ command: [], stdin: true, tty: { term: 'xterm' } });
    expect(stty(tty, '-a')).toMatch(/-icanon/);
    stty(tty, 'cols', '101', 'rows', '41');
    await until('the resize', () => resizes.includes('{"cols":101,"rows":41}'));
    cli.child.stdin!.write('\u0003\u001a');
    await until('the bytes', () => typed === '\u0003\u001a');
    cli.child.stdin!.write('q');
    expect((await cli.result).code).toBe(5);
    expect(modes('after')).toBe(modes('before'));
    expect(modes('before')).toMatch(/ icanon/);
  });
  test('is restored when the CLI is terminated', async () => {
    const { cli, tty, pid } = await start('vm exec -t devbox -- top');
    expect(stty(tty, '-a')).toMatch(/-icanon/);
    process.kill(pid(), 'SIGHUP');
    expect((await cli.result).code).toBe(129);
    expect(modes('after')).toBe(modes('before'));
  });
  test('is restored when the connection breaks, before the error is printed', async () => {
    const { cli } = await start('vm exec devbox -- bash');
    await daemon.close();
    const { code, out } = await cli.result;
    expect(code).toBe(125);
    expect(out).toMatch(/banger: The connection was lost while the command ran\r\n/);
    expect(modes('after')).toBe(modes('before'));
  });
  test('run without a command opens a shell and says afterwards that the VM still runs', async () => {
    daemon.vms.push({ ...daemon.vms[0]!, id: 'dddddddddddd', name: 'fresh' });
    const { cli } = await start('vm run -q');
    cli.child.stdin!.write('q');
    await cli.result;
    expect(existsSync(join(daemon.dir, 'after'))).toBe(true);
    const { cli: second } = await start('vm run');
    second.child.stdin!.write('q');
    const { out, code } = await second.result;
    expect(code).toBe(5);
    expect(out).toMatch(/fresh still runs: banger vm exec fresh, or banger vm delete fresh/);
    expect(daemon.called('vm.create')).toHaveLength(2);
  });
  test('stays as it is for a command that is no shell', async () => {
    const { cli, tty } = await start('vm exec devbox -- make');
    expect(daemon.called('vm.exec')[0]!['tty']).toBeUndefined();
    expect(stty(tty, '-a')).toMatch(/ icanon/);
    cli.child.stdin!.write('q\u0004');
    cli.child.stdin!.write('\u0004');
    expect((await cli.result).code).toBe(5);
  });
});
