// OpenSSH's own programs against the built server: sftp with a batch, scp in its default mode.
import { execFile } from 'node:child_process';
import { chmodSync, lstatSync, mkdirSync, readFileSync, readdirSync, readlinkSync, statSync, symlinkSync, truncateSync, utimesSync, writeFileSync } from 'node:fs';
import { userInfo } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { makeScratch } from './testing/fixture.ts';
import { Random } from './testing/random.ts';

const root = new URL('../..', import.meta.url).pathname;
const run = promisify(execFile);
const scratch = makeScratch();
const at = (...names: readonly string[]): string => join(scratch.dir, ...names);
const remote = (program: string, ...names: readonly string[]): string => at(`remote-${program}`, ...names);
const random = new Random(3);
const content = { 'a.bin': random.bytes(1_000_000), 'empty': Buffer.alloc(0), 'sub/b': Buffer.from('b\n'), 'sub/deep/c': random.bytes(300_001) };

beforeAll(async () => {
  const build = join(root, 'scripts/build-native.sh');
  await run('sh', [build, '--asan'], { cwd: root });
  await run('sh', [build], { cwd: root });
  for (const dir of ['local', 'local/tree', 'local/tree/sub', 'local/tree/sub/deep', 'remote-agent-asan', 'remote-agent']) mkdirSync(at(dir));
  for (const [name, bytes] of Object.entries(content)) writeFileSync(at('local/tree', name), bytes);
  utimesSync(at('local/tree/a.bin'), 1_500_000_000, 1_500_000_001);
  chmodSync(at('local/tree/sub/b'), 0o640);
  // -D takes a program without arguments.
  for (const program of ['agent-asan', 'agent']) {
    writeFileSync(at(program), `#!/bin/sh\nexec '${join(root, 'dist/native', program)}' sftp '${remote(program)}'\n`);
    chmodSync(at(program), 0o755);
  }
}, 240_000);
afterAll(() => scratch.remove());

async function sftp(program: string, ...commands: readonly string[]): Promise<string> {
  writeFileSync(at('batch'), `${commands.join('\n')}\n`);
  const { stdout } = await run('sftp', ['-b', at('batch'), '-D', at(program)], { cwd: at('local'), env: { PATH: process.env['PATH'], LC_ALL: 'C' } });
  return stdout.replaceAll(/^sftp> .*\n/gm, '');
}

function expectTree(dir: string): void {
  for (const [name, bytes] of Object.entries(content)) expect(readFileSync(join(dir, name)).equals(bytes), name).toBe(true);
}

describe.each(['agent-asan', 'agent'])('%s', (program) => {
  it('puts and gets trees with modes and times', async () => {
    await sftp(program, `put -pR tree ${program}-tree`, `get -pR ${program}-tree ${program}-back`);
    for (const dir of [remote(program, `${program}-tree`), at('local', `${program}-back`)]) {
      expectTree(dir);
      expect(statSync(join(dir, 'a.bin')).mtimeMs).toBe(1_500_000_001_000);
      expect(statSync(join(dir, 'sub/b')).mode & 0o777).toBe(0o640);
    }
  });

  it('resumes, renames, links, copies, changes modes and removes', async () => {
    const name = `${program}.bin`;
    writeFileSync(remote(program, name), content['a.bin'].subarray(0, 400_000));
    await sftp(
      program,
      `reput tree/a.bin ${name}`, `rename ${name} renamed`, 'ln renamed hard', 'ln -s renamed soft', 'copy renamed copied', 'chmod 600 hard', 'mkdir dir', 'rename copied dir/copied',
      `reget renamed ${program}.got`, 'rm hard',
    );
    for (const path of [remote(program, 'renamed'), remote(program, 'dir/copied'), at('local', `${program}.got`)]) expect(readFileSync(path).equals(content['a.bin']), path).toBe(true);
    expect(statSync(remote(program, 'renamed')).mode & 0o777).toBe(0o600);
    expect(readlinkSync(remote(program, 'soft'))).toBe('renamed');
    await sftp(program, 'rm soft', 'rm renamed', 'rm dir/copied', 'rmdir dir');
    expect(readdirSync(remote(program)).filter((left) => !left.endsWith('-tree'))).toEqual([]);
  });

  it('lists, tells free space and reports what fails', async () => {
    writeFileSync(remote(program, 'listed'), 'x');
    symlinkSync('listed', remote(program, 'link'));
    const listing = await sftp(program, 'ls -la listed', 'df .', 'pwd', 'ls -1 link');
    expect(listing).toMatch(new RegExp(String.raw`^-rw\S+ +\S+ +${userInfo().username} +\S+ +1 \w{3} +\d+ [\d:]+ listed$`, 'm'));
    expect(listing).toMatch(/%Capacity\n +\d+ +\d+ +\d+ +\d+ +\d+%/);
    expect(listing).toMatch(new RegExp(`Remote working directory: ${remote(program)}\nlink\n`));
    await expect(sftp(program, 'get missing')).rejects.toThrow(/not found/);
    await expect(sftp(program, 'rmdir listed')).rejects.toThrow(/No such file/);
    await sftp(program, 'rm link', 'rm listed');
  });

  it('serves scp', async () => {
    await run('scp', ['-q', '-r', '-p', '-D', at(program), 'host:.', at('local', `${program}-scp`)]);
    expectTree(at('local', `${program}-scp`, `${program}-tree`));
    truncateSync(at('local/tree/empty'), 3);
    await run('scp', ['-q', '-D', at(program), at('local/tree/empty'), `host:${program}-zeros`]);
    truncateSync(at('local/tree/empty'), 0);
    expect(readFileSync(remote(program, `${program}-zeros`))).toEqual(Buffer.alloc(3));
    expect(lstatSync(remote(program, `${program}-zeros`)).isFile()).toBe(true);
    await sftp(program, `rm ${program}-zeros`);
  });
});
