// The headline: a command runs in a real guest, its status and bytes come back, nothing stays.
import { createHash, randomBytes } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { makeHost, type Host } from '../support/host.ts';
import { waitFor } from '../support/wait.ts';

let host: Host;
beforeAll(async () => {
  host = await makeHost();
});
afterAll(async () => {
  await host.dispose();
});

const listed = async (): Promise<string[]> => (JSON.parse((await host.ok(['vm', 'list', '--json'])).out) as { vms: { name: string }[] }).vms.map((vm) => vm.name);

describe('vm run --rm', () => {
  test("prints the guest's answer and leaves no VM", async () => {
    const result = await host.ok(['vm', 'run', '--rm', '--', 'uname', '-a']);
    expect(result.out).toMatch(/^Linux .* x86_64 GNU\/Linux\n$/);
    expect(await listed()).toEqual([]);
    expect(await host.marked()).toEqual([]);
  });

  test('passes on the exit code, a signal as 128+n, 127 and 126', async () => {
    await host.ok(['vm', 'run', '--name', 'codes', '-d']);
    const statuses = [
      [['sh', '-c', 'exit 42'], 42], [['sh', '-c', 'kill -9 $$'], 137], [['sh', '-c', 'kill -TERM $$'], 143],
      [['no-such-program'], 127], [['/etc/passwd'], 126],
    ] as const;
    for (const [command, code] of statuses) {
      expect((await host.banger(['vm', 'exec', 'codes', '--', ...command])).code, command.join(' ')).toBe(code);
    }
    await host.ok(['vm', 'delete', 'codes']);
  });

  test('deletes after a failing command and hands on its status', async () => {
    expect((await host.banger(['vm', 'run', '--rm', '--name', 'failing', '--', 'sh', '-c', 'exit 42'])).code).toBe(42);
    expect(await listed()).toEqual([]);
  });

  test('deletes after Ctrl-C', async () => {
    const cli = host.spawnCli(['vm', 'run', '--rm', '--name', 'interrupted', '--', 'sh', '-c', 'echo up; sleep 600']);
    let out = '';
    cli.stdout?.on('data', (chunk: Buffer) => {
      out += chunk.toString();
    });
    await waitFor('the command to run', () => out.includes('up'));
    cli.kill('SIGINT');
    const code = await new Promise((resolve) => cli.on('close', resolve));
    expect(code).toBe(130);
    expect(await listed()).toEqual([]);
    expect(await host.marked()).toEqual([]);
  });

  test('hands environment to the command and to later execs', async () => {
    await host.ok(['vm', 'run', '--name', 'env', '--env', 'GREETING=hello world', '-d']);
    expect((await host.ok(['vm', 'exec', 'env', '--', 'printenv', 'GREETING'])).out).toBe('hello world\n');
    expect((await host.ok(['vm', 'exec', 'env', '--env', 'GREETING=007', '--', 'printenv', 'GREETING'])).out).toBe('007\n');
    await host.ok(['vm', 'delete', 'env']);
  });

  test('two runs at once both succeed', async () => {
    const both = await Promise.all(['one', 'two'].map((word) => host.ok(['vm', 'run', '--rm', '--', 'echo', word])));
    expect(both.map((result) => result.out)).toEqual(['one\n', 'two\n']);
    expect(await listed()).toEqual([]);
  });
});

describe('byte streams', () => {
  beforeAll(async () => {
    await host.ok(['vm', 'run', '--name', 'streams', '-d', '--vcpu', '1']);
  });
  afterAll(async () => {
    await host.ok(['vm', 'delete', 'streams']);
  });

  test('64 MB of stdout arrive whole while another exec answers', async () => {
    const size = 64 * 1024 * 1024;
    // A slow reader on purpose: the stream stays open while the second exec runs.
    const cli = host.spawnCli(['vm', 'exec', 'streams', '--', 'sh', '-c', `head -c ${size} /dev/zero | tr '\\0' 'b'`]);
    const hash = createHash('sha256');
    let bytes = 0;
    let answered = false;
    const closed = new Promise((resolve) => cli.on('close', resolve));
    const stdout = cli.stdout!;
    await new Promise<void>((resolve) => stdout.once('readable', resolve));
    const other = host.ok(['vm', 'exec', 'streams', '--', 'echo', 'responsive']).then((result) => {
      answered = true;
      return result;
    });
    expect((await other).out).toBe('responsive\n');
    expect(answered).toBe(true);
    for await (const chunk of stdout as AsyncIterable<Buffer>) {
      hash.update(chunk);
      bytes += chunk.length;
    }
    expect(await closed).toBe(0);
    expect(bytes).toBe(size);
    expect(hash.digest('hex')).toBe(createHash('sha256').update(Buffer.alloc(size, 'b')).digest('hex'));
  });

  test('64 MB of stdin arrive whole', async () => {
    const block = randomBytes(1024 * 1024);
    const input = Buffer.concat(Array.from({ length: 64 }, () => block));
    const result = await host.ok(['vm', 'exec', 'streams', '--', 'sha256sum'], { input });
    expect(result.out.split(' ')[0]).toBe(createHash('sha256').update(input).digest('hex'));
  });

  test('stdout and stderr stay apart, and stdin ends', async () => {
    const result = await host.ok(['vm', 'exec', 'streams', '--', 'sh', '-c', 'cat; echo problem >&2'], { input: 'fed' });
    expect(result.out).toBe('fed');
    expect(result.err).toBe('problem\n');
  });
});
