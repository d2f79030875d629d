// Streams of somebody who wants out of the destination, or to hang, fill or break what reads them. All under the sanitizers.
import { spawn } from 'node:child_process';
import { linkSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { once } from 'node:events';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { directory, end, file, hard, header, isRoot, longName, manifest, pax, programs, run, seal, symlink, temporary, type Programs, type RunResult } from './testing.ts';

const { dir, dispose } = temporary('hostile');
let copy: Programs;
let here: string;
let outside: string;
let before: unknown;
beforeAll(async () => void (copy = await programs(dir)), 300_000);
beforeEach(() => {
  here = mkdtempSync(join(dir, 'case-'));
  outside = join(here, 'outside');
  mkdirSync(join(outside, 'directory'), { recursive: true });
  writeFileSync(join(outside, 'secret'), 'secret');
  mkdirSync(join(here, 'dest'));
  before = manifest(outside);
});
afterAll(dispose);

/** Into the directory `dest`; nothing beside it may change, and sanitizers must be silent. */
async function receive(...stream: Buffer[]): Promise<RunResult> {
  const result = await run(copy.asan, ['receive', '--owners', '--devices', 'dest'], { input: Buffer.concat(stream), cwd: here });
  expect(result.err).not.toMatch(/Sanitizer|runtime error/);
  expect([0, 1, 3]).toContain(result.code);
  expect(manifest(outside)).toEqual(before);
  expect(readdirSync(here).sort()).toEqual(['dest', 'outside']);
  return result;
}
const dest = (): string[] => readdirSync(join(here, 'dest')).sort();

describe('names', () => {
  const dots = ['..', '../x', '../outside/secret', 'a/../../outside/secret', 'a/..', './../x', '/../x', 'a//../x', '..//x'];
  for (const name of dots) {
    it(`with .. refuse the stream: ${name}`, async () => {
      for (const entry of [file(name), directory(name), symlink(name, 'x'), hard('fine2', name), Buffer.concat([pax({ path: name }), file('x')]), Buffer.concat([longName(name), file('x')])]) {
        expect(await receive(file('fine'), entry, end)).toMatchObject({ code: 3, err: expect.stringMatching(/^(copy: note: .*\n)?copy: the stream names something outside of it, with `\.\.`: 1 entry was put in place\n$/) });
        expect(dest()).toEqual(['fine']);
      }
    });
  }
  it('that are absolute lose their slash', async () => {
    const path = join(outside, 'secret');
    expect(await receive(file(path, 'stolen'), hard('link', path), end)).toMatchObject({ code: 0, err: 'copy: note: leading / is removed from names\n' });
    expect(readFileSync(join(here, 'dest', path), 'utf8')).toBe('stolen');
    expect(readFileSync(join(here, 'dest/link'), 'utf8')).toBe('stolen');
  });
  it('that are too long, empty or hold a NUL are refused', async () => {
    expect(await receive(pax({ path: 'x/'.repeat(2049) }), file('x'), end)).toMatchObject({ code: 3, err: expect.stringContaining('a name of more than 4096 bytes') });
    expect(await receive(longName('x/'.repeat(2049)), file('x'), end)).toMatchObject({ code: 3 });
    expect(await receive(pax({ linkpath: 'x'.repeat(4097) }), symlink('x', 'y'), end)).toMatchObject({ code: 3 });
    expect(await receive(pax({ path: 'a\0b' }), file('x'), end)).toMatchObject({ code: 3 });
    expect(await receive(file(''), end)).toMatchObject({ code: 3 });
    expect(await receive(symlink('x', ''), end)).toMatchObject({ code: 3 });
    expect(dest()).toEqual([]);
  });
  it('with a part that no file system takes are told and left out', async () => {
    const long = 'n'.repeat(300);
    expect(await receive(pax({ path: `${long}/x` }), file('x'), pax({ path: `a/${long}` }), file('x'), file('fine'), end)).toMatchObject({ code: 1 });
    expect(dest()).toEqual(['a', 'fine']);
  });
  it('reach a terminal without control characters', async () => {
    const result = await receive(header({ name: 'a\x1b]0;title\x07\r\nb\xc2\x9bc', type: '3', major: 1, minor: 3 }), symlink('l', 'x'), file('l/\x1b[2J'), end);
    // eslint-disable-next-line no-control-regex -- that is what must not be there
    expect(result.err.replaceAll('\n', '')).not.toMatch(/[\x00-\x1f\x7f]|\u009b/);
    expect(result.err).toContain('l/\\x1b[2J is left out: l is a symlink and not followed');
  });
});

describe('links', () => {
  it('that are symlinks of the stream are made and never followed', async () => {
    const result = await receive(
      symlink('out', '../outside'), file('out/secret', 'stolen'), file('out/new'), directory('out'), directory('out/sub'), symlink('out/l', 'x'), hard('out/h', 'fine'),
      symlink('absolute', join(outside, 'secret')), file('absolute', 'a file of its own'), symlink('self', '.'), file('self/x'), file('fine'), end,
    );
    expect(result.code).toBe(1);
    expect(dest()).toEqual(['absolute', 'fine', 'out', 'self']);
    expect(readFileSync(join(here, 'dest/absolute'), 'utf8')).toBe('a file of its own');
  });
  it('that were there before are not followed either', async () => {
    symlinkSync('../outside', join(here, 'dest/out'));
    symlinkSync('../outside/secret', join(here, 'dest/file'));
    const result = await receive(directory('out'), file('out/secret', 'stolen'), file('file', 'replaced'), end);
    expect(result).toMatchObject({ code: 1, err: 'copy: out/ is left out: out is a symlink and not followed\ncopy: out/secret is left out: out is a symlink and not followed\n' });
    expect(readFileSync(join(here, 'dest/file'), 'utf8')).toBe('replaced');
  });
  it('that are hard end at what the destination itself has', async () => {
    symlinkSync('../outside', join(here, 'dest/old'));
    const result = await receive(symlink('out', '../outside'), hard('a', 'out/secret'), hard('b', 'old/secret'), hard('c', 'nothing'), hard('d', '.'), directory('dir'), hard('e', 'dir'), hard('f', 'f'), end);
    expect(result.code).toBe(1);
    expect(result.err.trim().split('\n').length).toBe(6);
    expect(dest()).toEqual(['dir', 'old', 'out']);
  });
  it('that are hard and lead to a symlink do not open what that leads to', async () => {
    expect(await receive(symlink('s', '../outside/secret'), hard('h', 's'), file('h', 'own'), hard('i', 's'), file('s', 'own too'), end)).toMatchObject({ code: 0, err: '' });
    expect(readFileSync(join(here, 'dest/h'), 'utf8')).toBe('own');
    expect(readFileSync(join(here, 'dest/s'), 'utf8')).toBe('own too');
  });
  it('that are hard and were there before lose nothing of their other name', async () => {
    linkSync(join(outside, 'secret'), join(here, 'dest/linked'));
    before = manifest(outside);
    const result = await run(copy.asan, ['receive', '--owners', 'dest'], { input: Buffer.concat([file('linked', 'new', { mode: 0o777, uid: 7 }), end]), cwd: here });
    expect(result).toMatchObject({ code: 0, err: '' });
    expect(readFileSync(join(outside, 'secret'), 'utf8')).toBe('secret');
    expect(readFileSync(join(here, 'dest/linked'), 'utf8')).toBe('new');
  });
  it('to themselves leave no temporary name behind', async () => {
    writeFileSync(join(here, 'dest/f'), 'text');
    expect(await receive(hard('f', 'f'), hard('./f', '/f'), end)).toMatchObject({ code: 0 });
    expect(dest()).toEqual(['f']);
  });
});

it('does not go through a directory that becomes a symlink meanwhile', async () => {
  const dance = 'mkdir dest/a; while :; do mv dest/a dest/b; ln -s ../outside dest/a; rm dest/a; mv dest/b dest/a; echo; done';
  const dancer = spawn('sh', ['-c', dance], { cwd: here, stdio: ['ignore', 'pipe', 'ignore'] });
  await once(dancer.stdout, 'data');
  dancer.stdout.resume();
  const stream = Buffer.concat([...Array.from({ length: 40 }, (_, i) => [file(`a/secret${i}`, 'stolen'), file('a/secret', 'stolen'), hard(`a/h${i}`, 'a/secret'), file(`top${i}`)]).flat(), end]);
  const results = [];
  for (let i = 0; i < 12; i++) results.push(await run(copy.plain, ['receive', 'dest'], { input: stream, cwd: here }));
  dancer.kill('SIGKILL');
  await once(dancer, 'close');
  expect(manifest(outside)).toEqual(before);
  for (const { code } of results) expect([0, 1, 3]).toContain(code);
}, 60_000);

describe('devices and setuid bits', () => {
  const nodes = [header({ name: 'disk', type: '4', major: 8, minor: 0, mode: 0o666 }), header({ name: 'null', type: '3', major: 1, minor: 3 })];
  it('are not made of what a stream says unless asked for', async () => {
    const stream = Buffer.concat([...nodes, file('suid', 'x', { mode: 0o6755, uid: 1234 }), pax({ 'SCHILY.xattr.security.capability': 'x', 'SCHILY.xattr.trusted.x': 'y', 'SCHILY.xattr.user.z': 'kept' }), file('caps'), end]);
    const result = await run(copy.asan, ['receive', 'dest'], { input: stream, cwd: here });
    expect(result).toMatchObject({ code: 1, err: 'copy: disk is a device and is left out\ncopy: null is a device and is left out\n' });
    const found = manifest(join(here, 'dest'));
    expect(Object.keys(found)).toEqual(['.', 'caps', 'suid']);
    expect(found['suid']).toMatchObject({ mode: '100755', owner: `${process.getuid!()}:${process.getgid!()}` });
    expect(found['caps']!['attributes']).toEqual(['user.z=0x6b657074']);
  });
  it('have bounded numbers', async () => {
    expect(await receive(header({ name: 'x', type: '3', major: 0o10000 }), end)).toMatchObject({ code: 3 });
    expect(await receive(header({ name: 'x', type: '4', minor: 0o4000000 }), end)).toMatchObject({ code: 3 });
  });
  it('belong to whom they said as root, with --owners', async (ctx) => {
    if (!isRoot) ctx.skip('only root can give files away');
    expect(await receive(file('suid', 'x', { mode: 0o6755, uid: 1234, gid: 77 }), end)).toMatchObject({ code: 0, err: '' });
    expect(manifest(join(here, 'dest'))['suid']).toMatchObject({ mode: '106755', owner: '1234:77' });
  });
});

describe('numbers', () => {
  const sizes = ['77777777777', '\x80\x00\x00\x00\x7f\xff\xff\xff\xff\xff\xff\xff', '\x80\x00\x00\x00\xff\xff\xff\xff\xff\xff\xff\xff', '\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff', '\xff'.repeat(12), '\x81' + '\0'.repeat(11), '-0000000001', '9', '12 34', '0x10'];
  for (const size of sizes) {
    it(`that are sizes do not overflow: ${JSON.stringify(size)}`, async () => {
      expect(await receive(header({ name: 'x', size }), Buffer.alloc(512, 1), end)).toMatchObject({ code: 3 });
      expect(await receive(header({ name: 'x', type: 'x', size }), Buffer.alloc(512, 1), end)).toMatchObject({ code: 3 });
      expect(await receive(header({ name: 'x', type: 'L', size }), Buffer.alloc(512, 1), end)).toMatchObject({ code: 3 });
      expect(await receive(header({ name: 'x', type: '?', size }), Buffer.alloc(512, 1), end)).toMatchObject({ code: 3 });
      expect(dest()).toEqual([]);
    });
  }
  for (const size of ['9223372036854775807', '9223372036854775297', '18446744073709551615', '99999999999999999999999', '-1', 'x', '1.5', '0x1']) {
    it(`of pax do not overflow: ${size}`, async () => {
      expect(await receive(pax({ size }), file('x'), end)).toMatchObject({ code: 3 });
      expect(await receive(pax({ 'GNU.sparse.major': '1', 'GNU.sparse.minor': '0', 'GNU.sparse.name': 'x', 'GNU.sparse.realsize': size }), file('x', '1\n5\n5\n'), end)).toMatchObject({ code: 3 });
    });
  }
  it('of owners and times are in range or refused', async () => {
    for (const records of [{ uid: '4294967295' }, { gid: '4294967296' }, { uid: '-1' }, { mtime: 'x' }, { mtime: '1.x' }, { mtime: '99999999999999999999' }, { mtime: '-' }, { mtime: '' , uid: 'x' }]) {
      expect(await receive(pax(records), file('x'), end)).toMatchObject({ code: 3 });
    }
    expect((await receive(pax({ mtime: '9223372036854775807.999999999999' }), file('x'), pax({ mtime: '-9223372036854775807.5' }), file('y'), end)).code).toBeLessThan(3);
  });
});

describe('headers', () => {
  it('with a wrong checksum end the stream', async () => {
    const bad = file('x');
    bad[0] = 0x79;
    expect(await receive(file('fine'), bad, end)).toMatchObject({ code: 3, err: 'copy: the stream is damaged: a bad checksum: 1 entry was put in place\n' });
    expect(await receive(bad, end)).toMatchObject({ code: 3, err: 'copy: the stream is not a tar: nothing was put in place\n' });
    expect(await receive(Buffer.from('hello\n'))).toMatchObject({ code: 3, err: 'copy: the stream ended early: nothing was put in place\n' });
    expect(await receive(file('a'), Buffer.alloc(512), file('b'), end)).toMatchObject({ code: 3, err: expect.stringContaining('one zero block in the middle') });
  });
  it('of compressed data name the tool', async () => {
    for (const [tool, magic] of [['gzip', '\x1f\x8b\x08'], ['xz', '\xfd7zXZ\0'], ['zstd', '\x28\xb5\x2f\xfd'], ['bzip2', 'BZh9']] as const) {
      for (const length of [20, 2000]) {
        const stream = Buffer.concat([Buffer.from(magic, 'latin1'), Buffer.alloc(length, 7)]);
        expect(await receive(stream)).toMatchObject({ code: 3, err: `copy: the stream is compressed: unpack it first with \`${tool} -dc\`: nothing was put in place\n` });
      }
    }
  });
  it('that are extended have a limit, one by one and together', async () => {
    expect(await receive(pax({ comment: 'x'.repeat(1 << 20) }), file('x'), end)).toMatchObject({ code: 3, err: expect.stringContaining('bytes of extended headers') });
    const parts = Array.from({ length: 5 }, (_, i) => pax({ [`SCHILY.xattr.user.n${i}`]: 'x'.repeat(60_000) }));
    expect((await receive(...parts, file('x'), end)).code).toBeLessThan(3);
    expect(await receive(...Array.from({ length: 20 }, () => parts[0]!), file('y'), end)).toMatchObject({ code: 3 });
    expect(await receive(...Array.from({ length: 20_000 }, () => pax({})), file('z'), end)).toMatchObject({ code: 3 });
    expect(await receive(pax({ 'SCHILY.xattr.user.big': 'x'.repeat(65_537) }), file('x'), end)).toMatchObject({ code: 3 });
    expect(await receive(pax(Object.fromEntries(Array.from({ length: 1100 }, (_, i) => [`SCHILY.xattr.user.${i}`, '']))), file('x'), end)).toMatchObject({ code: 3 });
  });
  it('that are extended and made of nonsense end the stream', async () => {
    for (const text of ['x', '5', '5 a=b', '99 a=b\n', '6 a=bc', '6 =bcd\n', '4 a=\n', '-6 a=b\n', '0 a=b\n', '7 a\0=b\n', '18446744073709551621 a=b\n', `${'1'.repeat(30)} a=b\n`]) {
      expect({ text, ...(await receive(file('pax', text, { type: 'x' }), file('x'), end)) }).toMatchObject({ text, code: 3 });
    }
    for (const key of ['path', 'linkpath', 'size', 'GNU.sparse.name']) expect(await receive(pax({ [key]: '1' }, 'g'), file('x'), end)).toMatchObject({ code: 3 });
  });
  it('of several volumes and unknown types are not taken for files', async () => {
    expect(await receive(file('x', 'text', { type: 'M' }), end)).toMatchObject({ code: 3 });
    expect(await receive(file('x', 'text', { type: 'Q' }), file('volume', 'x', { type: 'V' }), file('fine'), end)).toMatchObject({ code: 1, err: 'copy: x is left out: it is of the unknown type "Q"\n' });
    expect(dest()).toEqual(['fine']);
  });
});

describe('maps of sparse files', () => {
  const records = { 'GNU.sparse.major': '1', 'GNU.sparse.minor': '0', 'GNU.sparse.name': 'x', 'GNU.sparse.realsize': '100000' };
  const map = (text: string, data = 'data'): Buffer[] => [pax(records), file('GNUSparseFile.0/x', text.padEnd(512, '\0') + data), end];
  it('are taken when they fit', async () => {
    expect(await receive(...map('1\n50000\n4\n'))).toMatchObject({ code: 0, err: '' });
    expect(readFileSync(join(here, 'dest/x')).subarray(49_998, 50_006).toString('latin1')).toBe('\0\0data\0\0');
    expect(readFileSync(join(here, 'dest/x')).length).toBe(100_000);
  });
  for (const bad of ['1\n50000\n5\n', '1\n50000\n3\n', '1\n99998\n4\n', '2\n5000\n2\n5001\n2\n', '2\n5000\n2\n10\n2\n', '1\n-1\n4\n', '1\n9223372036854775807\n4\n', '2\n0\n9223372036854775807\n0\n4\n', '99999999\n', '1\n', 'x\n', '', '\n', `${'1'.repeat(512)}`]) {
    it(`are refused when they do not: ${JSON.stringify(bad.slice(0, 40))}`, async () => {
      expect(await receive(...map(bad))).toMatchObject({ code: 3 });
      expect(dest()).toEqual([]);
    });
  }
  it('of the older kinds are held to the same', async () => {
    for (const text of ['0', ',', '0,5', '5,4,0,0', 'x,4', '99999,4', '0,9223372036854775807']) {
      expect({ text, ...(await receive(pax({ 'GNU.sparse.size': '100', 'GNU.sparse.map': text }), file('x'), end)) }).toMatchObject({ text, code: 3 });
    }
    expect(await receive(pax({ 'GNU.sparse.size': '100', 'GNU.sparse.numbytes': '4' }), file('x'), end)).toMatchObject({ code: 3 });
    expect(await receive(pax({ 'GNU.sparse.map': '0,4' }), file('x'), end)).toMatchObject({ code: 3 });
    const old = header({ name: 'x', type: 'S', size: 4 });
    old.write('ustar  \0', 257, 'latin1');
    old.write('00000000000\0' + '00000000005\0', 386, 'latin1');
    old.write('00000000144\0', 483, 'latin1');
    expect(await receive(seal(old), Buffer.alloc(512), end)).toMatchObject({ code: 3 });
    // Blocks of the map that say nothing but that there are more.
    old[482] = 1;
    const more = Buffer.alloc(512);
    more[504] = 1;
    expect(await receive(seal(old), ...Array.from({ length: 50 }, () => more), end)).toMatchObject({ code: 3 });
  });
  it('do not write files of a size that the file system has not', async () => {
    const result = await receive(pax({ ...records, 'GNU.sparse.realsize': '9223372036854775000' }), file('GNUSparseFile.0/x', '1\n0\n4\n'.padEnd(512, '\0') + 'data'), file('fine'), end);
    expect(result).toMatchObject({ code: 1, err: 'copy: cannot write x: File too large\n' });
    expect(dest()).toEqual(['fine']);
  });
});

it('takes streams of any length in the same memory', async () => {
  // New directories over and over, and as many links to nothing.
  const round = (n: number): Buffer[] => Array.from({ length: 500 }, (_, i) => [directory(`d${i % 7}/r${n}e${i}`), file(`d${i % 7}/r${n}e${i}/f`), hard(`l${i}`, `no/${i}`)]).flat();
  const stream = Buffer.concat([...Array.from({ length: 8 }, (_, n) => round(n)).flat(), end]);
  const result = await run('sh', ['-c', 'ulimit -v 12000; exec "$@"', 'sh', copy.plain, 'receive', 'dest'], { input: stream, cwd: here });
  expect(result.code).toBe(1);
  const lines = result.err.trim().split('\n');
  expect([lines.length, lines.at(-1)]).toEqual([21, 'copy: and 3980 more']);
  expect(dest()).toEqual(['d0', 'd1', 'd2', 'd3', 'd4', 'd5', 'd6']);
});
