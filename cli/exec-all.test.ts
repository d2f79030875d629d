// One command on all VMs, and commands that go on by themselves, against a scripted daemon.
import { describe, expect, test } from 'vitest';
import { maxLineBytes, PrefixedLines } from './exec-all.ts';
import { eachDaemon } from './testing/each-daemon.ts';
import { type FakeDaemon, FakeError, fakeVm, type FakeStream } from './testing/fake-daemon.ts';
import { startCli, until } from './testing/run-cli.ts';

let daemon: FakeDaemon;
const banger = eachDaemon((made) => {
  daemon = made;
});
const lines = (text: string): string[] => text.split('\n').toSorted();
const byRef = (scripts: Record<string, (stream: FakeStream) => Promise<void>>): void => {
  daemon.options = { exec: (stream, params) => scripts[params['ref'] as string]!(stream) };
};

describe('vm exec --all', () => {
  test('runs on the VMs that run, prefixes whole lines, keeps the streams apart, and exits with the first non-zero in list order', async () => {
    daemon.vms = [fakeVm('aaaaaaaaaaaa', 'one'), fakeVm('bbbbbbbbbbbb', 'off', { state: 'stopped' }), fakeVm('cccccccccccc', 'two'), fakeVm('dddddddddddd', 'three')];
    const threeEnded = Promise.withResolvers<void>();
    byRef({
      aaaaaaaaaaaa: async (stream) => {
        await stream.send(16, 'half ');
        await stream.send(17, 'warned\n');
        await stream.send(16, 'and half\nlast');
        stream.exit({ code: 0 });
      },
      cccccccccccc: async (stream) => {
        // Ends last, and counts all the same.
        await threeEnded.promise;
        await stream.send(16, 'a\n\nb\n');
        stream.exit({ code: 7 });
      },
      dddddddddddd: async (stream) => {
        stream.exit({ signal: 'KILL', number: 9 });
        threeEnded.resolve();
      },
    });
    const { code, out, err } = await banger('vm', 'exec', '--all', '-e', 'K=v', '-u', 'nobody', '--guest-path', '/srv', '-l', '--', 'make');
    expect(code).toBe(7);
    expect(lines(out)).toEqual(lines('one | half and half\none | last\ntwo | a\ntwo | \ntwo | b\n'));
    expect(err).toBe('one | warned\nbanger: ran on 3 VMs: 1 succeeded, 2 failed (two: 7, three: 137)\n');
    expect(daemon.called('vm.exec')[0]).toEqual({ ref: 'aaaaaaaaaaaa', command: ['make'], stdin: false, env: { K: 'v' }, user: 'nobody', cwd: '/srv', login: true });
  });

  test('leaves paused VMs out and says so', async () => {
    daemon.vms = [fakeVm('aaaaaaaaaaaa', 'one'), fakeVm('bbbbbbbbbbbb', 'still', { state: 'paused' })];
    byRef({ aaaaaaaaaaaa: (stream) => Promise.resolve(stream.exit({ code: 0 })) });
    expect(await banger('vm', 'exec', '--all', '--', 'true')).toMatchObject({
      code: 0, err: 'banger: left out, as they are paused: still\nbanger: ran on 1 VM: 1 succeeded\n',
    });
    daemon.vms = daemon.vms.slice(1);
    const { code, err } = await banger('vm', 'exec', '--all', '--', 'true');
    expect([code, err]).toEqual([125, expect.stringContaining('No VM is running but paused ones')]);
  });

  test('counts a VM that cannot run it as 125, says why under its name, and goes on with the others', async () => {
    daemon.vms = [fakeVm('aaaaaaaaaaaa', 'one'), fakeVm('cccccccccccc', 'two')];
    daemon.options = {
      exec: (stream, params) => stream.exit(params['ref'] === 'aaaaaaaaaaaa' ? { error: { code: 'timeout', opId: 'op-1', message: 'Gave up waiting' } } : { code: 3 }),
    };
    const { code, err } = await banger('vm', 'exec', '--all', '-q', '--', 'true');
    expect(code).toBe(125);
    expect(err).toBe('one | banger: Gave up waiting\none | (op-1)\n');
    expect(daemon.called('vm.exec')).toHaveLength(2);
  });

  test('runs at most 16 at a time', async () => {
    daemon.vms = Array.from({ length: 40 }, (_, n) => fakeVm(n.toString(16).padStart(12, '0'), `vm-${n}`));
    let running = 0;
    let most = 0;
    const waiting: (() => void)[] = [];
    daemon.options = {
      exec: async (stream) => {
        running += 1;
        most = Math.max(most, running);
        await new Promise<void>((resolve) => waiting.push(resolve));
        running -= 1;
        stream.exit({ code: 0 });
      },
    };
    const cli = startCli(['vm', 'exec', '--all', '--', 'true'], { env: daemon.env });
    for (let ended = 0; ended < 40; ended += 1) {
      await until('the next ones', () => waiting.length >= Math.min(16, 40 - ended));
      waiting.shift()!();
    }
    const { code, err } = await cli.result;
    expect([code, err]).toEqual([0, 'banger: ran on 40 VMs: 40 succeeded\n']);
    expect(most).toBe(16);
  });

  test('hands Ctrl-C to every command', async () => {
    daemon.vms = [fakeVm('aaaaaaaaaaaa', 'one'), fakeVm('cccccccccccc', 'two')];
    let begun = 0;
    daemon.options = {
      exec: async (stream) => {
        begun += 1;
        for await (const { kind, payload } of stream.frames) {
          if (kind === 2) stream.exit({ signal: payload.toString(), number: 2 });
        }
      },
    };
    const cli = startCli(['vm', 'exec', '--all', '--', 'sleep', '9'], { env: daemon.env });
    await until('both', () => begun === 2);
    // Only what the CLI itself reads shows that its handlers are there.
    cli.child.kill('SIGINT');
    const { code, err } = await cli.result;
    expect(code).toBe(130);
    expect(err).toContain('2 failed (one: 130, two: 130)');
  });

  test('with -d prints the id that each VM gave', async () => {
    daemon.vms = [fakeVm('aaaaaaaaaaaa', 'one'), fakeVm('cccccccccccc', 'two')];
    daemon.options = { methods: { 'vm.exec.detach': ({ params }) => ({ id: params['ref'] === 'aaaaaaaaaaaa' ? 'abc' : 'def' }) } };
    const { code, out } = await banger('vm', 'exec', '--all', '-d', '-q', '--', 'make');
    expect([code, lines(out)]).toEqual([0, lines('one | abc\ntwo | def\n')]);
  });

  test.each([
    [['--all', 'devbox', '--', 'true'], /too much/], [['--all', '-t', '--', 'true'], /-t and -i/], [['--all', '-i', '--', 'true'], /-t and -i/],
    [['--all'], /needs a command/], [['-d', 'devbox'], /needs a command/], [['-d', '-t', 'devbox', '--', 'top'], /-t and -i/], [['--', 'true'], /needs <ref>/],
    [['-w', '/a', '--guest-path', '/b', 'devbox', '--', 'true'], /two directories/], [['-t', 'devbox', '--', 'top'], /needs a terminal/],
  ])('refuses %j before anything is asked', async (words, message) => {
    const { code, err } = await banger('vm', 'exec', ...words);
    expect(code).toBe(2);
    expect(err).toMatch(message);
    expect(daemon.calls.filter((call) => call.method.startsWith('vm.exec'))).toEqual([]);
  });

  test('says that no VM runs', async () => {
    daemon.vms = [fakeVm('aaaaaaaaaaaa', 'one', { state: 'stopped' })];
    const { code, err } = await banger('vm', 'exec', '--all', '--', 'true');
    expect([code, err]).toEqual([125, expect.stringContaining('No VM is running')]);
  });
});

describe('PrefixedLines', () => {
  test('cuts a line that never ends into pieces', async () => {
    let text = '';
    const out = new PrefixedLines({ write: async (bytes) => { text += Buffer.from(bytes).toString('latin1'); } }, 'vm | ');
    for (let n = 0; n < 5; n += 1) await out.write(Buffer.alloc(40_000, 'x'));
    await out.end();
    await out.end();
    const pieces = text.split('\n').slice(0, -1);
    expect(pieces.map((piece) => piece.length - 5)).toEqual([maxLineBytes, maxLineBytes, maxLineBytes, 200_000 - 3 * maxLineBytes]);
    expect(pieces.every((piece) => piece.startsWith('vm | x'))).toBe(true);
  });

  test('leaves bytes as they are, wherever the chunks are cut', async () => {
    const data = Buffer.from([...Buffer.from('ä\r\n'), 0, 255, 10, ...Buffer.from('end\n')]);
    const parts: Buffer[] = [];
    const out = new PrefixedLines({ write: async (bytes) => { parts.push(Buffer.from(bytes)); } }, '>');
    for (const byte of data) await out.write(Buffer.from([byte]));
    await out.end();
    expect(Buffer.concat(parts)).toEqual(Buffer.concat([Buffer.from('>ä\r\n>'), Buffer.from([0, 255, 10]), Buffer.from('>end\n')]));
  });
});

describe('vm exec -d', () => {
  test('prints the id', async () => {
    daemon.options = { methods: { 'vm.exec.detach': () => ({ id: '0123456789ab' }) } };
    const { code, out } = await banger('vm', 'exec', '-d', '-w', '/srv', 'devbox', '--', 'make', '-j');
    expect([code, out]).toEqual([0, '0123456789ab\n']);
    expect(daemon.called('vm.exec.detach')).toEqual([{ ref: 'devbox', command: ['make', '-j'], cwd: '/srv' }]);
  });

  test('fails with 125 when banger did, with its reason', async () => {
    daemon.options = { methods: { 'vm.exec.detach': () => { throw new FakeError('not_running', 'VM devbox is not running (stopped)'); } } };
    expect(await banger('vm', 'exec', '-d', 'devbox', '--', 'make')).toMatchObject({ code: 125, out: '', err: expect.stringContaining('not running') as string });
  });
});

describe('vm exec logs', () => {
  test('lists commands as a table and as JSON, without letting their words near the terminal', async () => {
    const commands = [
      { id: 'aaaaaaaaaaaa', state: 'running', pid: 7, user: 'root', command: ['sh', '-c', 'a\u001b[31m\nb'], startedAt: new Date().toISOString() },
      { id: 'bbbbbbbbbbbb', state: 'ended', pid: 8, user: 'dev', command: ['make'], startedAt: new Date().toISOString(), exit: { code: 3 } },
      { id: 'cccccccccccc', state: 'ended', pid: 9, user: 'dev', command: ['top'], startedAt: new Date().toISOString(), exit: { signal: 'TERM', number: 15 } },
    ];
    daemon.options = { methods: { 'vm.exec.list': () => ({ commands }) } };
    expect((await banger('vm', 'exec', 'logs', 'devbox')).out.split('\n').map((line) => line.split(/ {2,}/))).toEqual([
      ['ID', 'STATE', 'EXIT', 'USER', 'STARTED', 'COMMAND'], ['aaaaaaaaaaaa', 'running', '-', 'root', 'just now', 'sh -c a?[31m?b'],
      ['bbbbbbbbbbbb', 'ended', '3', 'dev', 'just now', 'make'], ['cccccccccccc', 'ended', 'TERM', 'dev', 'just now', 'top'], [''],
    ]);
    expect(JSON.parse((await banger('vm', 'exec', 'logs', 'devbox', '--json')).out)).toEqual({ commands });
  });

  test('prints both streams and ends as the command did', async () => {
    daemon.options = {
      exec: async (stream) => {
        await stream.send(16, 'out\n');
        await stream.send(17, 'err\n');
        stream.exit({ code: 4 });
      },
    };
    expect(await banger('vm', 'exec', 'logs', '-f', 'devbox', '0123')).toMatchObject({ code: 4, out: 'out\n', err: 'err\n' });
    expect(daemon.called('vm.exec.logs')).toEqual([{ ref: 'devbox', id: '0123', follow: true }]);
  });

  test.each([[['-f', 'devbox'], /needs the id/], [['devbox', '../x'], /no id/], [['--json', 'devbox', 'ab'], /list/]])('refuses %j', async (words, message) => {
    const { code, err } = await banger('vm', 'exec', 'logs', ...words);
    expect(code).toBe(2);
    expect(err).toMatch(message);
  });
});
