// Copies into real guests, out of them and between them: what arrives is what was sent, and what is cut short leaves nothing half-written.
import { execFileSync } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { isRoot, makeTree, manifest } from '../../native/copy/testing.ts';
import { makeHost, type Host, type RunResult } from '../support/host.ts';
import { scratchImage } from '../support/scratch-image.ts';
import { makeTar } from '../support/tar.ts';
import { waitFor } from '../support/wait.ts';

let host: Host;
let tree: string;
let trees = 0;
beforeAll(async () => {
  host = await makeHost();
  tree = join(host.dir, 'tree');
  makeTree(tree, { seed: 3, asRoot: isRoot });
  await host.ok(['vm', 'create', '--name', 'one']);
});
afterAll(async () => {
  await host.dispose();
});

const cp = (...words: string[]): Promise<RunResult> => host.banger(['vm', 'cp', ...words]);
const ok = (...words: string[]): Promise<RunResult> => host.ok(['vm', 'cp', ...words]);
const inGuest = async (vm: string, ...words: string[]): Promise<string> => (await host.ok(['vm', 'exec', vm, '--', ...words])).out;
const place = (): string => join(host.dir, `back${trees += 1}`);

/** What the tree is, without its device nodes: those do not come out of a guest. */
function told(dir: string): object {
  return Object.fromEntries(Object.entries(manifest(dir)).filter(([, entry]) => entry['device'] === undefined));
}
const hasDevices = (): boolean => Object.values(manifest(tree)).some((entry) => entry['device'] !== undefined);

/** The same question to both sides' own `find`. */
const listing = ['-printf', String.raw`%P %y %m %U:%G %T@ %n %s %l\0`];
const listed = (text: string): string[] => text.split('\0').map((line) => line.replace(/( d .*) \d+ $/, '$1')).sort();

/** Out of the guest: the manifest is the original's. */
async function expectWhole(vm: string, path: string, devices = hasDevices()): Promise<void> {
  const back = place();
  const out = await cp(`${vm}:${path}`, back);
  expect([out.code, out.err.replaceAll(/.*left out.*\n|banger: not all of it was copied\n/g, '')]).toEqual([devices ? 1 : 0, '']);
  expect(told(back)).toEqual(told(tree));
}

describe('a tree', () => {
  test('goes in and comes out as it was: owners, modes, times, links, attributes, holes', async () => {
    await ok(tree, 'one:copied');
    const there = await inGuest('one', 'find', '/root/copied', '-mindepth', '1', ...listing);
    expect(listed(there)).toEqual(listed(execFileSync('find', [tree, '-mindepth', '1', ...listing]).toString()));
    await expectWhole('one', '/root/copied');
  });

  test('of one big file is whole, both ways', async () => {
    const big = join(host.dir, 'random');
    // More than all buffers on the way hold.
    const bytes = randomBytes(12_345_678);
    writeFileSync(big, bytes);
    await ok(big, 'one:/root');
    expect(await inGuest('one', 'sha256sum', '/root/random')).toContain(createHash('sha256').update(bytes).digest('hex'));
    const back = place();
    await ok('one:/root/random', back);
    expect(readFileSync(back).equals(bytes)).toBe(true);
  });

  test('goes below a directory, takes a name, and gives its contents', async () => {
    const source = join(host.dir, 'small');
    mkdirSync(source);
    writeFileSync(join(source, 'a'), 'one');
    await inGuest('one', 'mkdir', '/tmp/there');
    await ok(source, 'one:/tmp/there');
    await ok(source, 'one:/tmp/named');
    await ok(`${source}/.`, 'one:/tmp/there');
    await ok(join(source, 'a'), 'one:/tmp/there/b');
    const files = await inGuest('one', 'find', '/tmp/there', '/tmp/named', '-type', 'f');
    expect(files.trim().split('\n').sort()).toEqual(['/tmp/named/a', '/tmp/there/a', '/tmp/there/b', '/tmp/there/small/a']);
    writeFileSync(join(source, 'a'), 'two');
    await ok(source, 'one:/tmp/there/');
    expect(await inGuest('one', 'cat', '/tmp/there/small/a', '/tmp/there/a')).toBe('twoone');
    const back = place();
    mkdirSync(back);
    await ok('one:/tmp/there/small/a', back);
    await ok('one:/tmp/there/.', join(back, 'all'));
    expect([readFileSync(join(back, 'a'), 'utf8'), readdirSync(join(back, 'all')).sort()]).toEqual(['two', ['a', 'b', 'small']]);
  });

  test('comes and goes as a tar stream that GNU tar makes and reads', async () => {
    const names = execFileSync('tar', ['c', '-C', host.dir, 'tree'], { maxBuffer: 1 << 28 });
    await inGuest('one', 'mkdir', '/root/streamed');
    await host.ok(['vm', 'cp', '-', 'one:/root/streamed'], { input: names });
    const out = (await host.ok(['vm', 'cp', 'one:/root/streamed/tree', '-'])).stdout;
    const list = (stream: Buffer): string[] => execFileSync('tar', ['t'], { input: stream, maxBuffer: 1 << 24 }).toString().split('\n').sort();
    expect(list(out)).toEqual(list(names));
  });

  test('belongs to the user it was copied as', async () => {
    await ok('-u', 'nobody', tree, 'one:/tmp/theirs').catch(() => undefined);
    expect(new Set((await inGuest('one', 'find', '/tmp/theirs', '-printf', '%u:%g\\n')).trim().split('\n'))).toEqual(new Set(['nobody:nogroup']));
    const refused = await cp('-u', 'nobody', tree, 'one:/root/theirs');
    expect([refused.code, refused.err]).toEqual([1, expect.stringMatching(/^banger: one: .*Permission denied; nothing was put in place/)]);
  });
});

describe('between', () => {
  test('two VMs a tree goes as it is', async () => {
    await host.ok(['vm', 'create', '--name', 'two']);
    const between = await cp('one:copied', 'two:/srv');
    expect(between.code).toBe(hasDevices() ? 1 : 0);
    await expectWhole('two', '/srv/copied', false);
    await host.ok(['vm', 'delete', 'two']);
  });
});

describe('an error is one sentence with a hint', () => {
  test.each([
    [['one:/nope', '.'], /^banger: one: cannot read \/nope: No such file or directory; nothing was put in place \(\.\)\n {2}hint: the path is one in the VM/],
    [['/nope', 'one:/tmp'], /^banger: host: cannot read \/nope: No such file or directory; nothing was put in place \(one:\/tmp\)\n {2}hint: the path is one of this host/],
    [['/etc/hostname', 'one:/nope/deep'], /^banger: one: cannot open \/nope: No such file or directory; nothing was put in place \(one:\/nope\/deep\)\n {2}hint: /],
    [['/etc/hostname', 'one:/nope/'], /^banger: one: the directory \/nope\/ is not there/],
    [['/etc/hostname', 'none:/tmp'], /^banger: No VM matches none\n {2}hint: banger vm list/],
    [['/etc/hostname', 'off:/tmp'], /^banger: VM off is not running \(it has not been started\)\n {2}hint: banger vm start off/],
    [['-u', 'nobodyatall', '/etc/hostname', 'one:/tmp'], /^banger: .*no such user/],
  ])('%j', async (words, text) => {
    if (words[1] === 'off:/tmp') await host.ok(['vm', 'create', '--name', 'off', '--no-start']);
    const result = await cp(...words);
    expect(result.err).toMatch(text);
    expect([result.code, result.err.includes('copy:')]).toEqual([1, false]);
  });

  test('a full disk in the guest', async () => {
    await inGuest('one', 'sh', '-c', 'mkdir /mnt/small && mount -t tmpfs -o size=1m none /mnt/small');
    const big = join(host.dir, 'big');
    writeFileSync(big, Buffer.alloc(4 * 1024 * 1024, 'x'));
    const result = await cp(big, 'one:/mnt/small');
    expect([result.code, result.err]).toEqual([1, expect.stringMatching(/^banger: one: .*No space left on device; nothing was put in place \(one:\/mnt\/small\)\n {2}hint: banger vm exec one/)]);
    expect(await inGuest('one', 'ls', '-A', '/mnt/small')).toBe('');
  });

  test('a full disk on the host', async ({ skip }) => {
    if (!isRoot) skip('only root can mount a small file system');
    const small = join(host.dir, 'small-disk');
    mkdirSync(small);
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=1m', 'none', small]);
    try {
      await inGuest('one', 'sh', '-c', 'head -c 4000000 /dev/urandom >/tmp/big');
      const result = await cp('one:/tmp/big', small);
      expect([result.code, result.err]).toEqual([1, expect.stringMatching(/^banger: host: .*No space left on device; nothing was put in place .*\n {2}hint: make room/)]);
      expect(readdirSync(small)).toEqual([]);
    } finally {
      execFileSync('umount', [small]);
    }
  });
});

describe('a copy that is cut short', () => {
  const draft = '.banger-copy-';

  /** A copy into the guest that stands in the middle of a file. */
  async function halfIn(): Promise<{ child: ChildProcess; ended: Promise<{ code: number | null; err: string }> }> {
    await inGuest('one', 'mkdir', '-p', '/root/in');
    const child = host.spawnCli(['vm', 'cp', '-', 'one:/root/in']);
    const ended = watch(child);
    child.stdin!.on('error', () => undefined); // it ends in the middle
    child.stdin!.write(makeTar([{ name: 'half', content: 'half of it', size: 1_000_000 }], { end: false }));
    await waitFor('the draft in the guest', async () => (await inGuest('one', 'ls', '-A', '/root/in')).includes(draft));
    return { child, ended };
  }
  /** A copy out of the guest that is under way. */
  async function halfOut(): Promise<{ child: ChildProcess; ended: Promise<{ code: number | null; err: string }>; target: string }> {
    await inGuest('one', 'sh', '-c', '[ -e /root/long ] || head -c 120000000 /dev/zero >/root/long');
    const target = place();
    mkdirSync(target);
    const child = host.spawnCli(['vm', 'cp', 'one:/root/long', target]);
    const ended = watch(child);
    await waitFor('the draft on the host', () => readdirSync(target).some((name) => name.startsWith(draft)));
    return { child, ended, target };
  }
  function watch(child: ChildProcess): Promise<{ code: number | null; err: string }> {
    let err = '';
    child.stderr!.on('data', (chunk: Buffer) => { err += chunk.toString(); });
    child.stdout!.resume();
    return new Promise((resolve) => { child.on('close', (code) => resolve({ code, err })); });
  }
  const guestIsClean = (): Promise<true> => waitFor('the draft in the guest to go', async () => (await inGuest('one', 'ls', '-A', '/root/in')) === '');

  test('into a guest, by kill -9 of the daemon: says so, leaves nothing, and works again', async () => {
    const { child, ended } = await halfIn();
    await host.killDaemon();
    child.stdin!.end();
    expect(await ended).toEqual({ code: 1, err: expect.stringContaining('The daemon went away during the copy') as string });
    await guestIsClean();
    await ok(join(host.dir, 'big'), 'one:/root/in');
    expect(await inGuest('one', 'ls', '-A', '/root/in')).toBe('big\n');
    await inGuest('one', 'rm', '/root/in/big');
  });

  test('out of a guest, by kill -9 of the daemon: says so, leaves nothing, and works again', async () => {
    const { ended, target } = await halfOut();
    await host.killDaemon();
    expect(await ended).toEqual({ code: 1, err: expect.stringMatching(/^banger: The daemon went away during the copy; nothing was put in place/) as string });
    expect(readdirSync(target)).toEqual([]);
    await ok('one:/etc/hostname', target);
    expect(existsSync(join(target, 'hostname'))).toBe(true);
  });

  test.each(['SIGINT', 'SIGTERM'] as const)('into a guest, by %s: leaves nothing', async (signal) => {
    const { child, ended } = await halfIn();
    child.kill(signal);
    expect((await ended).code).toBe(signal === 'SIGINT' ? 130 : 143);
    expect(await inGuest('one', 'ls', '-A', '/root/in')).toBe('');
  });

  test('out of a guest, by Ctrl-C: leaves nothing, there and here', async () => {
    const { child, ended, target } = await halfOut();
    child.kill('SIGINT');
    expect((await ended).code).toBe(130);
    expect(readdirSync(target)).toEqual([]);
    await waitFor('the sender in the guest to end', async () => !(await inGuest('one', 'sh', '-c', 'cat /proc/[0-9]*/cmdline 2>/dev/null | tr "\\0" " "')).includes('send -- /root/long'));
  });
});

describe('other guests', () => {
  test.each([['systemd as PID 1', ['--init', 'image']], ['one static program and nothing else', ['--image', 'scratch']]])('%s', async (_what, flags) => {
    const name = flags[1] === 'scratch' ? 'bare' : 'booted';
    await host.ok(['vm', 'create', '--name', name, ...flags.map((flag) => (flag === 'scratch' ? scratchImage() : flag))]);
    await ok(tree, `${name}:copied`);
    await expectWhole(name, 'copied');
    await host.ok(['vm', 'delete', name]);
  });
});
