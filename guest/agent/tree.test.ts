// `agent tree` by itself, built with sanitizers: what it says of paths, what it removes, and what it never touches.
import { execFileSync, spawnSync } from 'node:child_process';
import { chmodSync, existsSync, lstatSync, mkdirSync, mkdtempSync, readdirSync, readlinkSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { repoRoot } from '../../test/support/source-tree.ts';

const agent = join(repoRoot, 'dist/native/agent-asan');
beforeAll(() => {
  execFileSync('sh', [join(repoRoot, 'scripts/build-native.sh'), '--asan'], { cwd: repoRoot });
}, 120_000);

let dir: string;
let root: string;
let outside: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'banger-tree-'));
  [root, outside] = [join(dir, 'root'), join(dir, 'outside')];
  mkdirSync(root);
  put('../outside/file');
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

interface Result { readonly code: number | null; readonly out: string[]; readonly err: string }
function tree(words: readonly string[], input: readonly string[] = [], user?: number): Result {
  const bytes = Buffer.from(input.map((record) => `${record}\0`).join(''), 'latin1');
  return ended(words, bytes, user);
}
function ended(words: readonly string[], input: Buffer, user?: number): Result {
  const { status, stdout, stderr } = spawnSync(agent, ['tree', ...words], { input, maxBuffer: 1 << 28, encoding: 'latin1', ...(user === undefined ? {} : { uid: user, gid: user }) });
  return { code: status, out: stdout.split('\0').slice(0, -1), err: stderr };
}
const check = (...records: string[]): Result => tree(['check', root], records);
function put(path: string, text = 'text'): void {
  mkdirSync(dirname(join(root, path)), { recursive: true });
  writeFileSync(join(root, path), text);
}
/** A record as the guest itself would say it. */
function fact(path: string): string {
  const is = lstatSync(Buffer.from(join(root, path), 'latin1'), { bigint: true });
  const nanoseconds = ((is.mtimeNs % 1_000_000_000n) + 1_000_000_000n) % 1_000_000_000n;
  const type = is.isFile() ? 'f' : is.isSymbolicLink() ? 'l' : is.isDirectory() ? 'd' : 'o';
  return `${type} ${(is.mode & 0o7777n).toString(8)} ${is.size} ${(is.mtimeNs - nanoseconds) / 1_000_000_000n}.${String(nanoseconds).padStart(9, '0')} ${path}`;
}
const absent = (path: string): string => `- 0 0 0.000000000 ${path}`;
const fine = { code: 0, out: [], err: '' };

describe('check', () => {
  beforeEach(() => {
    put('a/one');
    put('a/deep/er/two', 'longer text');
    put('b/three');
    chmodSync(join(root, 'b/three'), 0o755);
    symlinkSync('a/one', join(root, 'b/link'));
    symlinkSync(outside, join(root, 'away'));
    execFileSync('touch', ['-h', '-d', '@-2.25', join(root, 'b/link')]);
  });

  test('says nothing of what is as expected', () => {
    const before = ['a', 'a/one', 'a/deep/er/two', 'b/three', 'b/link', 'away', 'a/deep', 'b'].map(fact);
    expect(before[4]).toContain(' -3.750000000 ');
    expect(check(...before, absent('no'), absent('a/no'), absent('no/no/no'), absent('a/one/below'))).toEqual(fine);
  });

  test('compares of a mode the execution right of the owner, and of a directory nothing', () => {
    const [file, program] = [fact('a/one'), fact('b/three')];
    expect(check(file.replace(/^f \d+/, 'f 640'), program.replace(/^f \d+/, 'f 4744'), fact('b/link').replace(/^l 777/, 'l 0'), 'd 0 1 2.000000003 a/deep')).toEqual(fine);
    expect(check(file.replace(/^f \d+/, 'f 755'), program.replace(/^f \d+/, 'f 655')).out).toEqual([file, program]);
  });

  test('tells the actual facts of what differs', () => {
    const facts = ['a/one', 'a/deep/er/two', 'b/link'].map(fact);
    const changes: ((record: string) => string)[] = [
      (record) => record.replace(/^(\S+ \S+) (\d+)/, '$1 1$2'), (record) => record.replace(/\d \S+$/, (text) => `${(Number(text[0]) + 1) % 10}${text.slice(1)}`), (record) => record.replace(/(-?\d+)\./, '1$1.').replace('1-', '-1'),
    ];
    for (const change of changes) expect(check(...facts.map(change)).out).toEqual(facts);
    expect(check(...['a', 'a/one', 'b/link'].map(absent)).out).toEqual(['a', 'a/one', 'b/link'].map(fact));
    expect(check(fact('a/one').replace('f ', 'l '), fact('b/link').replace('l ', 'f '), fact('a').replace('d ', 'f '), fact('b/three').replace('f ', 'd ')).out).toEqual(['a/one', 'b/link', 'a', 'b/three'].map(fact));
    rmSync(join(root, 'a'), { recursive: true });
    expect(check(...facts).out).toEqual([absent('a/one'), absent('a/deep/er/two')]);
  });

  test('goes through no link, and calls what is neither file, link nor directory something else', () => {
    expect(check(absent('away/file'), absent('away/no'), absent('b/link/x'), absent('away')).out).toEqual(['o 0 0 0.000000000 away/file', 'o 0 0 0.000000000 away/no', 'o 0 0 0.000000000 b/link/x', fact('away')]);
    execFileSync('mkfifo', [join(root, 'fifo')]);
    expect(check(absent('fifo')).out).toEqual([fact('fifo')]);
    expect(fact('fifo')[0]).toBe('o');
  });

  test('knows names of any bytes, and of any depth', () => {
    const odd = 'with space\n\u0001\u00ff';
    writeFileSync(Buffer.from(join(root, odd), 'latin1'), 'x');
    const deep = Array.from({ length: 300 }, (_, i) => `d${i % 10}`).join('/');
    put(`${deep}/file`);
    const half = deep.slice(0, 600);
    expect(check(fact(odd), fact(`${deep}/file`), fact(half.slice(0, half.lastIndexOf('/'))), absent(`${half.slice(0, half.lastIndexOf('/'))}/no`), absent('x'.repeat(300)), absent(`${'y'.repeat(300)}/z`))).toEqual(fine);
  });

  test('finds nothing below a root that is not there, or is a file', () => {
    const record = fact('a/one');
    for (const where of [join(root, 'no/such'), join(root, 'a/one')]) expect(tree(['check', where], [record, absent('x')])).toEqual({ code: 0, out: [absent('a/one')], err: '' });
    expect(tree(['check', join(root, 'away')], [absent('file')]).out.length).toBe(1);
  });

  test('answers for more records than any buffer holds', () => {
    for (let i = 0; i < 40; i += 1) put(`many/d${i}/f`);
    const records = Array.from({ length: 20_000 }, (_, i) => `many/d${i % 40}/${i < 40 ? 'f' : `${i}${'x'.repeat(100)}`}`);
    const { code, out, err } = check(...records.map((path) => `f 644 5 0.000000000 ${path}`));
    expect([code, err, out.length]).toEqual([0, '', 20_000]);
    expect([out[3], out.at(-1)]).toEqual([fact('many/d3/f'), absent(records.at(-1)!)]);
  });

  test.each([
    '', 'f', 'f 644 1 1.000000000', 'f 644 1 1.000000000 ', 'x 644 1 1.000000000 a', 'f 648 1 1.000000000 a', 'f 644 1 1.5 a', 'f 644 1 1.-00000001 a', 'f  644 1 1.000000000 a', 'f 644 1 1 a', 'f 644 -  1.000000000 a',
    'f 644 1 1.000000000 /a', 'f 644 1 1.000000000 a/', 'f 644 1 1.000000000 a/../b', 'f 644 1 1.000000000 .', 'f 644 1 1.000000000 a//b', `f 644 1 1.000000000 ${'a/'.repeat(2100)}a`, 'z'.repeat(70_000),
    'f 644 99999999999999999999 1.000000000 a',
  ])('refuses the record %#', (record) => {
    expect(check(absent('no'), record)).toMatchObject({ code: 2, out: [], err: expect.stringMatching(/^tree: .*\n$/s) as string });
  });

  test('refuses records that are cut', () => {
    expect(ended(['check', root], Buffer.from(absent('a')))).toMatchObject({ code: 2, err: 'tree: the last record is not ended\n' });
  });
});

describe('check of what is below', () => {
  const holds = (count: number, path: string): Result => check(`D 0 ${count} 0.000000000 ${path}`);
  beforeEach(() => {
    for (const path of ['d/one', 'd/e/two', 'd/e/f/three']) put(path);
    symlinkSync(outside, join(root, 'd/away'));
    mkdirSync(join(root, 'd/hollow/inner'), { recursive: true });
  });

  test('counts what is no directory with entries, and looks behind no link', () => {
    expect([holds(5, 'd'), holds(2, 'd/e'), holds(0, 'd/hollow/inner')]).toEqual([fine, fine, fine]);
    expect(holds(9, 'd').out).toEqual([fact('d').replace(/^(d \S+) \d+/, '$1 5')]);
    expect([holds(1, 'd/one').out, holds(0, 'd/away').out, holds(0, 'no').out, holds(0, 'd/away/x').out]).toEqual(
      [[fact('d/one')], [fact('d/away')], [absent('no')], ['o 0 0 0.000000000 d/away/x']]);
  });

  test('counts no further than it has to, and takes what it cannot read for more', () => {
    for (let n = 0; n < 300; n += 1) put(`many/${n}`);
    expect(holds(7, 'many').out).toEqual([fact('many').replace(/^(d \S+) \d+/, '$1 8')]);
    const deep = Array.from({ length: 1500 }, () => 'd').join('/');
    execFileSync('mkdir', ['-p', deep], { cwd: root });
    expect(holds(6, 'd')).toEqual(fine);
    // With 40 files open at most.
    const few = spawnSync('sh', ['-c', 'ulimit -n 40; exec "$@"', 'sh', agent, 'tree', 'check', root], { input: 'D 0 6 0.000000000 d\0', encoding: 'latin1' });
    expect([few.status, few.stdout]).toEqual([0, `${fact('d').replace(/^(d \S+) \d+/, '$1 7')}\0`]);
  });
});

describe('clear', () => {
  test('removes all that is at paths, and follows no link', () => {
    for (const path of ['a/b/c', 'a/d', 'e/f', 'file', 'keep/x']) put(path);
    mkdirSync(Buffer.from(join(root, 'odd \xff/inner'), 'latin1'), { recursive: true });
    symlinkSync(outside, join(root, 'a/away'));
    symlinkSync(outside, join(root, 'link'));
    expect(tree(['clear', root], ['a', 'e/f', 'file', 'link', 'odd \xff', 'keep/no', 'no/no', 'a/b'])).toEqual(fine);
    expect(readdirSync(root, { recursive: true }).sort()).toEqual(['e', 'keep', 'keep/x']);
    expect(existsSync(join(outside, 'file'))).toBe(true);
    expect(tree(['clear', join(root, 'no')], ['a'])).toEqual(fine);
  });

  test('refuses what is no path below the root, and tells of what is behind a link', () => {
    for (const path of ['../outside', '/etc', '', '.', 'a/..']) expect(tree(['clear', root], [path])).toMatchObject({ code: 2 });
    symlinkSync(outside, join(root, 'link'));
    expect(tree(['clear', root], ['link/file'])).toEqual({ code: 1, out: [], err: 'tree: cannot remove link/file: a symlink is on the way\n' });
    expect(existsSync(join(outside, 'file'))).toBe(true);
  });
});

describe('remove', () => {
  test('takes files and links away, and the directories that are empty then', () => {
    for (const path of ['a/b/c/one', 'a/b/two', 'a/keep', 'e/f/g']) put(path);
    symlinkSync(outside, join(root, 'e/link'));
    mkdirSync(join(root, 'hollow/out'), { recursive: true });
    expect(tree(['remove', root], ['a/b/c/one', 'a/b/two', 'e/f/g', 'e/link', 'hollow/out/gone'])).toEqual(fine);
    expect(readdirSync(root, { recursive: true }).sort()).toEqual(['a', 'a/keep']);
    expect(existsSync(join(outside, 'file'))).toBe(true);
    expect(tree(['remove', root], ['a/keep'])).toEqual(fine);
    expect(readdirSync(root)).toEqual([]);
  });

  test('minds nothing that is missing', () => {
    put('a');
    expect(tree(['remove', root], ['no', 'no/no', 'a/below', 'x'.repeat(300)])).toEqual(fine);
    expect(tree(['remove', join(root, 'no')], ['a'])).toEqual(fine);
    expect(readdirSync(root)).toEqual(['a']);
  });

  test('tells what it does not remove: directories, and what is behind a link', () => {
    put('a/one');
    put('b/two');
    symlinkSync(outside, join(root, 'away'));
    symlinkSync('b', join(root, 'l'));
    expect(tree(['remove', root], ['a', 'away/file', 'l/two', 'b/two'])).toEqual({
      code: 1, out: [], err: 'tree: cannot remove a: Is a directory\ntree: cannot remove away/file: a symlink is on the way\ntree: cannot remove l/two: a symlink is on the way\n',
    });
    expect([existsSync(join(outside, 'file')), readdirSync(root).sort()]).toEqual([true, ['a', 'away', 'l']]);
    for (let i = 0; i < 45; i += 1) mkdirSync(join(root, `d${i}/x`), { recursive: true });
    const lines = tree(['remove', root], Array.from({ length: 45 }, (_, i) => `d${i}`)).err.trim().split('\n');
    expect([lines.length, lines.at(-1)]).toEqual([21, 'tree: and 25 more']);
  });

  test('refuses what is no path below the root', () => {
    for (const path of ['../outside/file', '/etc/passwd', '', '.', 'a/../../outside/file', 'a//b']) {
      expect(tree(['remove', root], [path])).toMatchObject({ code: 2 });
    }
    expect(existsSync(join(outside, 'file'))).toBe(true);
  });

  test('removes a tree of any depth and its 2,000 neighbours', () => {
    const deep = Array.from({ length: 200 }, (_, i) => `d${i % 10}`).join('/');
    const paths = [...Array.from({ length: 2000 }, (_, i) => `n${i % 50}/f${i}`).sort(), `${deep}/file`];
    for (const path of paths) put(path);
    expect(tree(['remove', root], paths)).toEqual(fine);
    expect(readdirSync(root)).toEqual([]);
  });
});

describe('wipe', () => {
  test('removes all of it, and follows no link', () => {
    put('a/b/c');
    symlinkSync(outside, join(root, 'a/away'));
    mkdirSync(join(root, 'locked'), { mode: 0 });
    expect(tree(['wipe', `${root}//`])).toEqual(fine);
    expect([existsSync(root), existsSync(join(outside, 'file'))]).toEqual([false, true]);
    expect(tree(['wipe', root])).toEqual(fine);
    expect(tree(['wipe', join(root, 'no/such')])).toEqual(fine);
  });

  test('removes a link or a file in its place, not what the link leads to', () => {
    symlinkSync(outside, join(root, 'link'));
    put('file');
    for (const name of ['link', 'file']) expect(tree(['wipe', join(root, name)])).toEqual(fine);
    expect([readdirSync(root), existsSync(join(outside, 'file'))]).toEqual([[], true]);
  });

  test('refuses the root of everything, and what is not one name', () => {
    for (const path of ['/', '//', `${root}/..`, `${root}/.`, '/..', 'relative', '']) expect(tree(['wipe', path])).toMatchObject({ code: 2 });
    expect(existsSync(root)).toBe(true);
  });

  test('leaves other file systems alone', () => {
    put('a/one');
    mkdirSync(join(root, 'a/mounted'));
    const script = 'mount -t tmpfs tmpfs "$1/a/mounted" && echo x > "$1/a/mounted/kept" && { "$2" tree wipe "$1/a/mounted"; echo "$?"; "$2" tree wipe "$1"; echo "$?"; cat "$1/a/mounted/kept"; }';
    const made = spawnSync('unshare', ['-rm', 'true']);
    if (made.status !== 0) return console.log('skipped: this host gives no mount namespace');
    const { stdout, stderr } = spawnSync('unshare', ['-rm', 'sh', '-c', script, 'sh', root, agent], { encoding: 'utf8' });
    expect([stdout, stderr]).toEqual(['1\n1\nx\n', expect.stringMatching(/^tree: cannot remove all of .*mounted: a file system is mounted there\ntree: cannot remove all of .*\n$/)]);
  });
});

describe('mkdir', () => {
  test('makes what is missing, 0755, also behind links', () => {
    symlinkSync(outside, join(root, 'link'));
    expect(tree(['mkdir', join(root, 'link/a/b')])).toEqual(fine);
    expect(statSync(join(outside, 'a/b')).mode & 0o7777).toBe(0o755);
    expect(tree(['mkdir', join(root, 'link/a/b/')])).toEqual(fine);
  });

  test('tells what is in the way', () => {
    put('file');
    for (const path of ['file', 'file/below']) expect(tree(['mkdir', join(root, path)])).toMatchObject({ code: 1, err: expect.stringMatching(/^tree: cannot make the directory /) as string });
    expect(tree(['mkdir', 'relative'])).toMatchObject({ code: 2 });
  });
});

describe('link', () => {
  test('makes a link, and points one elsewhere', () => {
    const at = join(root, 'link');
    for (const to of ['/root/one', '/root/one', '/root/two', `/${'long/'.repeat(100)}`]) {
      expect(tree(['link', at, to])).toEqual(fine);
      expect(readlinkSync(at)).toBe(to);
    }
    expect(readdirSync(root)).toEqual(['link']);
  });

  test('changes nothing else that is there', () => {
    put('file');
    mkdirSync(join(root, 'dir'));
    for (const name of ['file', 'dir']) expect(tree(['link', join(root, name), '/x'])).toEqual({ code: 4, out: [], err: '' });
    expect(readdirSync(root).sort()).toEqual(['dir', 'file']);
    expect(tree(['link', join(root, 'no/link'), '/x'])).toMatchObject({ code: 1, err: expect.stringContaining('No such file or directory') as string });
  });
});

test('is used as it says', () => {
  for (const words of [[], ['check'], ['check', 'relative'], ['check', root, 'more'], ['clear', 'relative'], ['link', root], ['link', 'relative', 'x'], ['link', root, ''], ['other', root]]) {
    expect(tree(words)).toMatchObject({ code: 2, out: [], err: expect.stringMatching(/^usage: agent tree/) as string });
  }
});
