// A plugin in a folder outside the repository has every tool that ours have, and its failure is its own.
import { cpSync, existsSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { makeHost, type Host } from '../support/host.ts';
import { repoRoot } from '../support/source-tree.ts';

let host: Host;
let notes: string;
const configure = (extra: string): void => writeFileSync(join(host.dir, 'config', 'banger', 'config.toml'),
  `[vm_defaults]\nvcpu = 1\nmemory_mib = 512\ninit = "agent"\n[plugins]\nload = [${JSON.stringify(join(host.dir, 'elsewhere', 'plugin.js'))}]\n${extra}`);

beforeEach(async () => {
  host = await makeHost();
  cpSync(join(repoRoot, 'test', 'fixtures', 'plugin-hello'), join(host.dir, 'elsewhere'), { recursive: true });
  notes = join(host.stateDir, 'plugins', 'hello');
});
afterEach(async () => {
  await host.dispose();
});
const noteFiles = (): string[] => (existsSync(notes) ? readdirSync(notes) : []);

test('adds a method, a step, a flag, a check and a command', async () => {
  configure('[plugins.hello]\nsalutation = "Good day"\n');
  await host.ok(['vm', 'run', '--name', 'guest', '--greeting', 'nice to see you', '-d']);
  expect((await host.ok(['hello', 'greet', 'guest'])).out).toContain('Good day, guest: nice to see you');
  expect(noteFiles()).toHaveLength(1);
  expect((await host.ok(['vm', 'list'])).out).toMatch(/GREETING/);
  const unknown = await host.banger(['hello', 'greet', 'stranger']);
  expect([unknown.code, unknown.err]).toEqual([1, expect.stringContaining('Nobody is called stranger')]);
  const doctor = await host.banger(['doctor']);
  expect(doctor.out).toMatch(/salutation is Good day/);
  expect((await host.ok(['plugin', 'list', '--json'])).out).toMatch(/"hello\.greet"/);
  expect((await host.ok(['rpc', 'rpc.discover'])).out).toContain('hello.greet');
  await host.ok(['vm', 'stop', 'guest']);
  expect(noteFiles()).toEqual([]);
  await host.ok(['vm', 'delete', 'guest']);
});

test('whose setup fails is shown as failed, and the daemon serves on', async () => {
  configure('[plugins.hello]\nbroken = true\n');
  expect((await host.ok(['vm', 'run', '--rm', '--', 'echo', 'served'])).out).toBe('served\n');
  const doctor = await host.banger(['doctor']);
  expect(doctor.out).toMatch(/hello.*failed|failed.*hello/s);
  expect(doctor.out).toContain('the configuration asked for it');
  expect((await host.banger(['rpc', 'hello.greet', '{"ref":"x"}'])).err).toMatch(/hello\.greet/);
});

test('whose configuration is wrong is failed too, and can be disabled', async () => {
  configure('[plugins.hello]\nsalutatoin = "x"\n');
  const { plugins } = JSON.parse((await host.ok(['plugin', 'list', '--json'])).out) as { plugins: { name: string; state: string; reason?: string }[] };
  expect(plugins.find((p) => p.name === 'hello')).toMatchObject({ state: 'failed', reason: expect.stringContaining('salutation') });
  await host.ok(['daemon', 'stop']);
  writeFileSync(join(host.dir, 'config', 'banger', 'config.toml'), `[plugins]\nload = [${JSON.stringify(join(host.dir, 'elsewhere', 'plugin.js'))}]\ndisabled = ["hello"]\n`);
  const after = JSON.parse((await host.ok(['plugin', 'list', '--json'])).out) as { plugins: { name: string; state: string }[] };
  expect(after.plugins.find((p) => p.name === 'hello')?.state).toBe('disabled');
});
