// The tar stream of entries, judged by tar itself; files, links and limits on a real file system.
import { execFileSync } from 'node:child_process';
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, truncateSync, utimesSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { maxFiles, newBudget, readEntry } from './host-files.ts';
import type { Budget } from './host-files.ts';
import { tarEnd } from './tar.ts';

let dir: string;
let home: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'banger-sync-'));
  home = join(dir, 'home');
  mkdirSync(home);
});
afterEach(() => rmSync(dir, { recursive: true }));

const idle = new AbortController().signal;
async function read(host: string, guest: string, options: { mode?: number; budget?: Budget } = {}): Promise<Buffer> {
  const blocks: Buffer[] = [];
  const { mode = 0o600, budget = newBudget() } = options;
  for await (const block of readEntry({ host: join(home, host), guest, mode }, home, { name: 'file_sync[0]', budget, signal: idle })) blocks.push(block);
  return Buffer.concat(blocks);
}
const list = (tar: Buffer): string[] => execFileSync('tar', ['tvf', '-', '--numeric-owner', '--utc', '--full-time'], { input: Buffer.concat([tar, tarEnd]), encoding: 'utf8' })
  .split('\n').filter((line) => line !== '').map((line) => line.replaceAll(/ +/g, ' '));
function unpacked(tar: Buffer): string {
  const to = mkdtempSync(join(dir, 'out-'));
  execFileSync('tar', ['xf', '-', '-C', to], { input: Buffer.concat([tar, tarEnd]) });
  return to;
}

test('a file goes with the mode of its entry and its own time, as root\'s', async () => {
  writeFileSync(join(home, 'netrc'), 'machine x\n', { mode: 0o664 });
  utimesSync(join(home, 'netrc'), 1_700_000_000, 1_700_000_000);
  expect(list(await read('netrc', '.netrc', { mode: 0o640 }))).toEqual(['-rw-r----- 0/0 10 2023-11-14 22:13:20 .netrc']);
});

test('a directory goes with the modes of what is in it, without links and what is no file', async () => {
  const tree = join(home, 'tree');
  mkdirSync(join(tree, 'deep', 'empty'), { recursive: true });
  writeFileSync(join(tree, 'run.sh'), '#!/bin/sh\n');
  writeFileSync(join(tree, 'deep', 'plain'), '');
  writeFileSync(join(dir, 'secret'), 'secret');
  symlinkSync(join(dir, 'secret'), join(tree, 'link'));
  symlinkSync(dir, join(tree, 'deep', 'dirlink'));
  symlinkSync('/nowhere', join(tree, 'dangling'));
  execFileSync('mkfifo', [join(tree, 'fifo')]);
  const server = createServer().listen(join(tree, 'socket'));
  await new Promise((resolve) => server.once('listening', resolve));
  for (const [name, mode] of [['run.sh', 0o4755], ['deep/plain', 0o604], ['deep', 0o710], ['deep/empty', 0o700], ['', 0o750]] as const) chmodSync(join(tree, name), mode);
  const tar = await read('tree', '.config/tree');
  server.close();
  expect(list(tar).map((line) => line.split(' ').filter((_, n) => n < 3 || n === 5).join(' '))).toEqual([
    'drwxr-x--- 0/0 0 .config/tree/', 'drwx--x--- 0/0 0 .config/tree/deep/', 'drwx------ 0/0 0 .config/tree/deep/empty/', '-rw----r-- 0/0 0 .config/tree/deep/plain',
    '-rwxr-xr-x 0/0 10 .config/tree/run.sh',
  ]);
});

test('names beyond a header and beyond ASCII, and any content, come out as they went in', async () => {
  const long = 'x'.repeat(120);
  const names = ['exactly', 'ümläut', `${long}`, `${long}-ö`, 'new\nline', ' blank '];
  mkdirSync(join(home, 'names', long), { recursive: true });
  const content = (n: number): Buffer => Buffer.alloc(511 + n, n);
  for (const [n, name] of names.entries()) writeFileSync(join(home, 'names', name === long ? join(long, name) : name), content(n));
  const out = unpacked(await read('names', 'n'));
  for (const [n, name] of names.entries()) expect(readFileSync(join(out, 'n', name === long ? join(long, name) : name))).toEqual(content(n));
  // 100 bytes still fit a header.
  mkdirSync(join(home, 'edge'));
  for (const length of [97, 98, 99, 990]) {
    const name = length > 255 ? 'y'.repeat(250) : 'y'.repeat(length);
    writeFileSync(join(home, 'edge', name), name);
    expect(readFileSync(join(unpacked(await read(join('edge', name), `e/${name}`)), 'e', name), 'utf8')).toBe(name);
  }
});

test('a link that an entry names is followed inside of the home, and refused when it leads out', async () => {
  writeFileSync(join(home, 'real'), 'in');
  writeFileSync(join(dir, 'outside'), 'out');
  symlinkSync('real', join(home, 'inside'));
  symlinkSync(join(dir, 'outside'), join(home, 'escape'));
  mkdirSync(join(dir, 'outdir'));
  writeFileSync(join(dir, 'outdir', 'file'), 'out');
  symlinkSync('../outdir', join(home, 'escapedir'));
  expect(readFileSync(join(unpacked(await read('inside', 'x')), 'x'), 'utf8')).toBe('in');
  await expect(read('escape', 'x')).rejects.toThrow(/^file_sync\[0\]: .*\/home\/escape leads to .*\/outside, outside of the home/);
  await expect(read('escapedir/file', 'x')).rejects.toMatchObject({ code: 'operation_failed' });
});

test('a home that is reached through a link is the home', async () => {
  writeFileSync(join(home, 'file'), 'x');
  symlinkSync(home, join(dir, 'home-link'));
  const blocks: Buffer[] = [];
  const entry = { host: join(dir, 'home-link', 'file'), guest: 'x', mode: 0o600 };
  for await (const block of readEntry(entry, join(dir, 'home-link'), { name: 'n', budget: newBudget(), signal: idle })) blocks.push(block);
  expect(list(Buffer.concat(blocks))).toHaveLength(1);
});

test('a missing path and a dangling link give nothing', async () => {
  symlinkSync('nowhere', join(home, 'dangling'));
  expect([await read('missing', 'x'), await read('dangling', 'x'), await read('missing/deep', 'x')].map((tar) => tar.length)).toEqual([0, 0, 0]);
});

test('neither a FIFO nor a socket is waited for', async () => {
  execFileSync('mkfifo', [join(home, 'fifo')]);
  await expect(read('fifo', 'x')).rejects.toThrow(/neither a file nor a directory/);
});

test('what is too much is refused before it is read, over all entries', async () => {
  writeFileSync(join(home, 'big'), '');
  truncateSync(join(home, 'big'), 40 * 1024 * 1024);
  const budget = newBudget();
  await read('big', 'a', { budget });
  await expect(read('big', 'b', { budget })).rejects.toThrow('file_sync[0]: the files to copy are over 64 MiB together');
  mkdirSync(join(home, 'many'));
  for (let n = 0; n < 20; n += 1) writeFileSync(join(home, 'many', String(n)), '');
  await expect(read('many', 'c', { budget: { bytes: 1000, files: 20 } })).rejects.toThrow(`over ${maxFiles} files`);
});

test('what cannot be read is an error with the path', async ({ skip }) => {
  skip(process.getuid?.() === 0, 'root reads everything');
  writeFileSync(join(home, 'closed'), '', { mode: 0 });
  await expect(read('closed', 'x')).rejects.toThrow(/closed cannot be read: EACCES/);
});
