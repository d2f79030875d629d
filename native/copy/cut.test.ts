// Streams that end too early, are stopped or damaged: what is in place is whole, and nothing else is left.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { waitFor } from '../../test/support/wait.ts';
import { isRoot, makeTree, manifest, programs, random, run, temporary, type Programs, type RunResult } from './testing.ts';

const { dir, dispose } = temporary('cut');
const long = process.env['BANGER_TEST_LONG'] === '1';
let copy: Programs;
let stream: Buffer;
beforeAll(async () => {
  copy = await programs(dir);
  const from = join(dir, 'tree');
  mkdirSync(join(from, 'sub/inner'), { recursive: true });
  for (const name of ['a', 'sub/b', 'sub/inner/c']) writeFileSync(join(from, name), name.repeat(700));
  writeFileSync(join(from, `sub/${'n'.repeat(200)}`), 'long');
  // The order of entries in a stream is that of the directories, which no test may rely on.
  stream = (await run(copy.plain, ['send', from])).out;
}, 300_000);
afterAll(dispose);

/** Runs `work` for all of them, four at a time. */
async function each<T>(items: readonly T[], work: (item: T) => Promise<void>): Promise<void> {
  const rest = items.slice();
  await Promise.all(Array.from({ length: 4 }, async () => {
    for (let item = rest.shift(); item !== undefined; item = rest.shift()) await work(item);
  }));
}

const sane = (result: RunResult): void => {
  expect(result.err).not.toMatch(/Sanitizer|runtime error/);
  expect([0, 1, 3]).toContain(result.code);
};

/** Up to where the two zero blocks are; what follows is padding. */
const wholeLength = (bytes: Buffer): number => {
  let end = bytes.length;
  while (bytes.subarray(end - 512, end).every((byte) => byte === 0)) end -= 512;
  return end + 1024;
};

describe('a stream that is cut', () => {
  it('leaves nothing where there was nothing, wherever it is cut', async () => {
    const cuts = Array.from({ length: wholeLength(stream) / 512 }, (_, i) => [i * 512, i * 512 + 100]).flat();
    expect(cuts.length).toBeGreaterThan(40);
    await each(cuts, async (cut) => {
      const here = mkdtempSync(join(dir, 'new-'));
      const result = await run(copy.asan, ['receive', join(here, 'dest')], { input: stream.subarray(0, cut) });
      expect({ cut, ...result }).toMatchObject({ cut, code: 3, err: 'copy: the stream ended early: nothing was put in place\n' });
      expect(readdirSync(here)).toEqual([]);
    });
    expect((await run(copy.asan, ['receive', join(dir, 'whole')], { input: stream.subarray(0, wholeLength(stream)) })).code).toBe(0);
  });

  it('leaves whole files where a tree was, and says how many are new', async () => {
    const old = 'old'.repeat(999);
    await each(Array.from({ length: wholeLength(stream) / 512 }, (_, i) => i * 512 + 511), async (cut) => {
      const here = mkdtempSync(join(dir, 'old-'));
      mkdirSync(join(here, 'tree/sub/inner'), { recursive: true });
      for (const name of ['a', 'sub/b', 'sub/inner/c']) writeFileSync(join(here, 'tree', name), old);
      const result = await run(copy.asan, ['receive', here], { input: stream.subarray(0, Math.min(cut, wholeLength(stream) - 1)) });
      sane(result);
      const fresh = ['a', 'sub/b', 'sub/inner/c'].filter((name) => {
        const text = readFileSync(join(here, 'tree', name), 'utf8');
        expect([old, name.repeat(700)]).toContain(text);
        return text !== old;
      }).length + (readdirSync(join(here, 'tree/sub')).length - 2);
      expect(result).toMatchObject({ code: 3, err: `copy: the stream ended early: ${fresh === 0 ? 'nothing was' : fresh === 1 ? '1 entry was' : `${fresh} entries were`} put in place\n` });
      expect(Object.keys(manifest(here)).filter((path) => path.includes('.banger-copy'))).toEqual([]);
    });
  });

  it('leaves the file that was there as it was', async () => {
    const from = join(dir, 'single');
    writeFileSync(from, 'new'.repeat(5000));
    const { out } = await run(copy.plain, ['send', from]);
    for (const cut of [512, 5000, 15_000, wholeLength(out) - 1024, wholeLength(out) - 512]) {
      const here = mkdtempSync(join(dir, 'file-'));
      writeFileSync(join(here, 'dest'), 'before');
      for (const args of [[join(here, 'dest')], ['--name', 'dest', here]]) {
        expect(await run(copy.asan, ['receive', ...args], { input: out.subarray(0, cut) })).toMatchObject({ code: 3, err: 'copy: the stream ended early: nothing was put in place\n' });
        expect([readdirSync(here), readFileSync(join(here, 'dest'), 'utf8')]).toEqual([['dest'], 'before']);
      }
    }
  });
});

describe('a receiver that is stopped', () => {
  for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) {
    it(`by ${signal} puts things back`, async () => {
      const here = mkdtempSync(join(dir, 'stop-'));
      const child = spawn(copy.asan, ['receive', join(here, 'dest')], { stdio: ['pipe', 'ignore', 'pipe'] });
      let err = '';
      child.stderr.on('data', (bytes: Buffer) => void (err += bytes.toString()));
      child.stdin.on('error', () => undefined);
      // In the middle of something, with more to come.
      child.stdin.write(stream.subarray(0, 3000));
      await waitFor('the temporary tree', () => readdirSync(here).some((name) => name.startsWith('.banger-copy-')));
      child.kill(signal);
      const [code] = await once(child, 'close');
      expect([code, err, readdirSync(here)]).toEqual([3, 'copy: stopped by a signal: nothing was put in place\n', []]);
    });
  }
});

describe('any damage', () => {
  /** Bytes changed by seed, with right checksums more often than not. */
  function damage(bytes: Buffer, next: (below: number) => number): Buffer {
    const out = Buffer.from(bytes);
    for (let n = 1 + next(6); n > 0; n--) {
      const block = next(out.length / 512) * 512;
      const at = block + (next(3) === 0 ? next(512) : [0, 100, 124, 135, 136, 156, 157, 257, 329, 345, 386, 482, 483][next(13)]! + next(4));
      out[at] = [0, 0xff, 0x80, 0x2f, 0x2e, 0x37, 0x53, 0x78, 0x31, 0x35][next(11)] ?? next(256);
      if (next(4) > 0) reseal(out.subarray(block, block + 512));
    }
    if (next(5) === 0) out.copyWithin(next(out.length / 512) * 512, next(out.length / 512) * 512, out.length);
    return out;
  }
  /** Only what was a header gets a checksum. */
  function reseal(block: Buffer): void {
    if (block.subarray(257, 262).toString('latin1') !== 'ustar') return;
    block.fill(' ', 148, 156);
    let sum = 0;
    for (const byte of block) sum += byte;
    block.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1');
  }

  it('is survived, and reaches nothing outside', { timeout: 900_000 }, async () => {
    const seed = long ? Date.now() % 1_000_000 : 7;
    const next = random(seed);
    const from = join(dir, 'fuzzed');
    makeTree(from, { seed: 51, asRoot: isRoot });
    const sources = [stream, ...await Promise.all([
      run(copy.plain, ['send', from]),
      run('tar', ['-c', '--format=gnu', '--sparse', '-C', dir, 'fuzzed']),
      run('tar', ['-c', '--format=pax', '--sparse', '--sparse-version=0.1', '--xattrs', '-C', dir, 'fuzzed']),
    ]).then((results) => results.map(({ out }) => out))];
    for (const source of sources) expect(source.length).toBeGreaterThan(4000);
    const codes = new Map<number | null, number>();
    const home = join(dir, 'fuzz-home');
    mkdirSync(home);
    await each(Array.from({ length: long ? 4000 : 100 }, (_, i) => i), async (i) => {
      const here = join(home, String(i));
      mkdirSync(here);
      // Never with devices or owners: a wrong bit must not make a disk of this host a file of anybody's.
      const result = await run(copy.asan, ['receive', ...(i % 3 === 0 ? ['--owners'] : []), join(here, ['dest', '.'][i % 2]!)], { input: damage(sources[i % sources.length]!, next) });
      expect({ seed, i, err: result.err }).toMatchObject({ seed, i, err: expect.not.stringMatching(/Sanitizer|runtime error/) });
      sane(result);
      codes.set(result.code, (codes.get(result.code) ?? 0) + 1);
      expect(readdirSync(here).length > 0 && result.code === 3 && i % 2 === 0).toBe(false);
    });
    expect(readdirSync(home).length).toBe(long ? 4000 : 100);
    // Some got through the parser, and some did not.
    expect(codes.get(3)).toBeGreaterThan(10);
    expect((codes.get(0) ?? 0) + (codes.get(1) ?? 0)).toBeGreaterThan(10);
  });
});
