// What `send` does with sources that are odd, change or cannot be read, and how it tells.
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, closeSync, linkSync, mkdirSync, mkdtempSync, openSync, readFileSync, symlinkSync, truncateSync, writeFileSync, appendFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { giveTo, isRoot, nobody, programs, run, temporary, type Programs, type RunOptions, type RunResult } from './testing.ts';

const { dir, dispose } = temporary('send');
let copy: Programs;
let here: string;
beforeAll(async () => void (copy = await programs(dir)), 300_000);
beforeEach(() => void (here = mkdtempSync(join(dir, 'case-'))));
afterAll(dispose);

const send = (args: readonly string[], options: RunOptions = {}): Promise<RunResult> => run(copy.asan, ['send', ...args], { cwd: here, ...options });
const names = (stream: Buffer): string[] => execFileSync('tar', ['-t'], { input: stream, encoding: 'utf8' }).trim().split('\n').sort();

describe('names', () => {
  beforeEach(() => {
    mkdirSync(join(here, 'tree'));
    writeFileSync(join(here, 'tree/file'), 'text');
    symlinkSync('tree', join(here, 'link'));
  });
  it('begin with the last of the path, or as asked for', async () => {
    for (const [args, wanted] of [
      [['tree'], ['tree/', 'tree/file']], [['tree/'], ['tree/', 'tree/file']], [['./tree//'], ['tree/', 'tree/file']], [['tree/file'], ['file']],
      [['--base', 'other', 'tree'], ['other/', 'other/file']], [['--base', 'other', 'tree/file'], ['other']],
      [['--contents', 'tree'], ['./', './file']], [['--contents', 'link'], ['./', './file']], [['--contents', '--base', 'x', 'tree/'], ['./', './file']],
      [['link'], ['link']], [['link/'], ['link/', 'link/file']], [['tree', 'link'], ['link', 'tree/', 'tree/file']], [['tree/.'], ['tree/', 'tree/file']],
    ] as const) {
      const result = await send(args);
      expect({ args, code: result.code, err: result.err, names: names(result.out) }).toEqual({ args, code: 0, err: '', names: wanted });
    }
    const result = await run(copy.asan, ['send', '..'], { cwd: join(here, 'tree') });
    expect(names(result.out)[0]).toBe(`${here.split('/').at(-1)}/`);
  });
  it('of what is not there give an empty stream', async () => {
    for (const args of [['nothing'], ['tree', 'nothing'], ['tree/file/'], ['--contents', 'tree/file'], ['tree/file/x']]) {
      const result = await send(args);
      expect({ args, code: result.code, length: result.out.length }).toEqual({ args, code: 3, length: 0 });
      expect(result.err).toMatch(/^copy: cannot read .*: (No such file or directory|Not a directory)\n$/);
    }
  });
});

describe('sources that are not files of their own', () => {
  it('are left out with a note: sockets, and the stream itself', async () => {
    const server = createServer().listen(join(here, 'socket'));
    await once(server, 'listening');
    writeFileSync(join(here, 'file'), 'text');
    const out = openSync(join(here, 'out.tar'), 'w');
    const child = spawn(copy.asan, ['send', '--contents', '.'], { cwd: here, stdio: ['ignore', out, 'pipe'] });
    closeSync(out);
    let err = '';
    child.stderr!.on('data', (bytes: Buffer) => void (err += bytes.toString()));
    const [code] = await once(child, 'close');
    server.close();
    expect(code).toBe(0);
    expect(err.trim().split('\n').sort()).toEqual(['copy: note: ./out.tar is what is being written and is left out', 'copy: note: ./socket is a socket and is left out']);
    expect(names(readFileSync(join(here, 'out.tar')))).toEqual(['./', './file']);
  });
  it('are links where they have another name in the stream only', async () => {
    writeFileSync(join(here, 'outside'), 'text');
    mkdirSync(join(here, 'tree'));
    linkSync(join(here, 'outside'), join(here, 'tree/one'));
    const listed = execFileSync('tar', ['-tv'], { input: (await send(['tree'])).out, encoding: 'utf8' });
    expect(listed).not.toContain('link to');
    linkSync(join(here, 'outside'), join(here, 'tree/two'));
    expect(execFileSync('tar', ['-tv'], { input: (await send(['tree'])).out, encoding: 'utf8' })).toMatch(/tree\/(one|two) link to tree\/(two|one)/);
  });
});

describe('sources that cannot be read', () => {
  it('are told and left out, and the rest is sent', async () => {
    mkdirSync(join(here, 'tree/locked'), { recursive: true });
    for (const name of ['locked/in', 'secret', 'open']) writeFileSync(join(here, 'tree', name), name);
    chmodSync(join(here, 'tree/secret'), 0);
    chmodSync(join(here, 'tree/locked'), 0);
    const user = isRoot ? { user: nobody } : {};
    if (isRoot) giveTo(join(here, 'tree/secret'), nobody);
    chmodSync(here, 0o755);
    const result = await send(['tree'], user);
    expect(result.code).toBe(1);
    expect(result.err.trim().split('\n').sort()).toEqual(['copy: cannot read tree/locked: Permission denied', 'copy: cannot read tree/secret: Permission denied']);
    expect(names(result.out)).toEqual(['tree/', 'tree/locked/', 'tree/open']);
  });
  it('are told in 20 lines at most', async () => {
    const user = isRoot ? { user: nobody } : {};
    mkdirSync(join(here, 'tree'));
    for (let i = 0; i < 45; i++) writeFileSync(join(here, `tree/f${i}`), 'x', { mode: 0 });
    chmodSync(here, 0o755);
    const lines = (await send(['tree'], user)).err.trim().split('\n');
    expect([lines.length, lines.at(-1)]).toEqual([21, 'copy: and 25 more']);
  });
});

describe('files that change while they are read', () => {
  /** The sender waits for its reader in the middle of the file while `change` happens: no pipe holds all of it. */
  async function during(change: () => void): Promise<{ code: unknown; err: string; stream: Buffer }> {
    const child = spawn(copy.asan, ['send', 'file'], { cwd: here, stdio: ['ignore', 'pipe', 'pipe'] });
    const out: Buffer[] = [];
    let err = '';
    child.stderr.on('data', (bytes: Buffer) => void (err += bytes.toString()));
    const ended = once(child, 'close');
    await once(child.stdout, 'readable');
    change();
    child.stdout.on('data', (bytes: Buffer) => void out.push(bytes));
    const [code] = await ended;
    return { code, err, stream: Buffer.concat(out) };
  }
  beforeEach(() => writeFileSync(join(here, 'file'), Buffer.alloc(8_000_000, 'x')));

  it('are filled with zeros when they shrink', async () => {
    const { code, err, stream } = await during(() => truncateSync(join(here, 'file'), 7_000_000));
    expect([code, err]).toEqual([1, 'copy: file shrank while it was read; the rest is zeros\n']);
    expect(names(stream)).toEqual(['file']);
    const bytes = execFileSync('tar', ['-xO'], { input: stream, maxBuffer: 1 << 26 });
    expect([bytes.length, bytes[6_999_999], bytes[7_000_000], bytes.at(-1)]).toEqual([8_000_000, 0x78, 0, 0]);
  });
  it('are cut when they grow', async () => {
    const { code, err, stream } = await during(() => appendFileSync(join(here, 'file'), 'more'));
    expect([code, err]).toEqual([1, 'copy: file grew while it was read; what was added is not sent\n']);
    expect(execFileSync('tar', ['-xO'], { input: stream, maxBuffer: 1 << 26 }).length).toBe(8_000_000);
  });
});

it('tells its progress on a descriptor, and minds no reader that is gone or slow', async () => {
  mkdirSync(join(here, 'tree'));
  for (let i = 0; i < 20; i++) writeFileSync(join(here, `tree/f${i}`), Buffer.alloc(100_000, i));
  const shell = (script: string): Promise<RunResult> => run('sh', ['-c', script, 'sh', copy.asan], { cwd: here });
  const told = await shell('"$1" send --progress-fd 3 tree 3>progress | "$1" receive --progress-fd 3 again 3>received');
  expect(told).toMatchObject({ code: 0, err: '' });
  for (const file of ['progress', 'received']) {
    const lines = readFileSync(join(here, file), 'utf8').trim().split('\n');
    expect(lines.every((line) => /^\d+ \d+ (tree(\/|\/f\d+)?)?$/.test(line))).toBe(true);
    expect(lines.at(-1)).toMatch(/^20\d{5} 21 tree/);
  }
  expect(await shell('mkfifo gone; exec 4<>gone 3>gone 4>&-; "$1" send --progress-fd 3 tree >out.tar')).toMatchObject({ code: 0, err: '' });
  // A reader that never reads: the pipe is full.
  expect(await shell('mkfifo full; exec 3<>full; dd if=/dev/zero bs=65536 count=1 status=none >&3; "$1" send --progress-fd 3 tree >out.tar')).toMatchObject({ code: 0, err: '' });
});

it('ends with a sentence when nobody reads the stream', async () => {
  writeFileSync(join(here, 'file'), Buffer.alloc(5_000_000));
  const result = await run('sh', ['-c', '{ "$1" send file; echo "code $?" >&2; } | head -c 1000 >/dev/null', 'sh', copy.asan], { cwd: here });
  expect(result.err).toBe('copy: the other end stopped reading\ncode 3\n');
});
