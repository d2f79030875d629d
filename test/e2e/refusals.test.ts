// Bad input: the right exit code, one sentence, nothing created. No guest boots here.
import { existsSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { makeHost, type Host } from '../support/host.ts';

let host: Host;
beforeAll(async () => {
  host = await makeHost();
});
afterAll(async () => {
  await host.dispose();
});

const cases: [string, string[], number, RegExp][] = [
  ['no vcpu', ['vm', 'run', '--vcpu', '0', '--', 'true'], 2, /vcpu/],
  ['a bad name', ['vm', 'run', '--name', 'Bad_Name', '--', 'true'], 2, /name/],
  ['an unknown image', ['vm', 'run', '--image', 'no-such-image', '--', 'true'], 125, /no-such-image/],
  ['an unknown image at create', ['vm', 'create', '--image', 'no-such-image'], 1, /no-such-image/],
  ['an unknown flag', ['vm', 'run', '--colour', 'red', '--', 'true'], 2, /--colour/],
  ['an unknown verb', ['vm', 'fly'], 2, /fly/],
  ['a number that is none', ['vm', 'create', '--memory', 'lots'], 2, /memory/],
  ['too little memory', ['vm', 'create', '--memory', '1'], 2, /memory/i],
  ['a bad size', ['vm', 'create', '--disk-size', '8X'], 2, /size/i],
  ['a bad port', ['vm', 'create', '--publish', '99999:80'], 2, /publish/],
  ['detach with --rm', ['vm', 'run', '-d', '--rm'], 2, /--rm/],
  ['detach with a command', ['vm', 'run', '-d', '--', 'true'], 2, /-d|detach/],
  ['a missing VM', ['vm', 'show', 'nobody'], 1, /nobody/],
  ['exec on a missing VM', ['vm', 'exec', 'nobody', '--', 'true'], 125, /nobody/],
];

test.each(cases)('%s is refused', async (_, args, code, words) => {
  const result = await host.banger(args);
  expect(result.err).toMatch(words);
  expect(result.code).toBe(code);
  expect(result.err.split('\n').filter((line) => line.startsWith('banger: '))).toHaveLength(1);
  expect(result.err).not.toContain('    at ');
  expect((JSON.parse((await host.ok(['vm', 'list', '--json'])).out) as { vms: unknown[] }).vms).toEqual([]);
  const vms = join(host.stateDir, 'vms');
  expect(existsSync(vms) ? readdirSync(vms) : []).toEqual([]);
});

test('eight creates at once get eight addresses', async () => {
  await Promise.all(Array.from({ length: 8 }, (_, n) => host.ok(['vm', 'create', '--no-start', '--name', `slot-${n}`])));
  const { vms } = JSON.parse((await host.ok(['vm', 'list', '--json'])).out) as { vms: { name: string; state: string; sections: { usernet: { address: string } } }[] };
  expect(vms).toHaveLength(8);
  expect(new Set(vms.map((vm) => vm.sections.usernet.address)).size).toBe(8);
  for (const vm of vms) {
    expect(vm.state).toBe('created');
    expect(vm.sections.usernet.address).toMatch(/^127\./);
  }
  expect((await host.banger(['vm', 'create', '--no-start', '--name', 'slot-3'])).err).toMatch(/already exists/);
  expect((await host.banger(['vm', 'show', 'slot'])).err).toMatch(/fits 8/);
  await host.ok(['vm', 'prune', '-f']);
  expect((JSON.parse((await host.ok(['vm', 'list', '--json'])).out) as { vms: unknown[] }).vms).toEqual([]);
});

test('an unknown config key refuses the start, names every problem and suggests the key', async () => {
  await host.ok(['daemon', 'stop']);
  const file = join(host.dir, 'config', 'banger', 'bad.toml');
  writeFileSync(file, 'log_levle = "info"\n[plugins.qemu]\nacel = "tcg"\n[plugins.qemuu]\n');
  const result = await host.banger(['vm', 'list'], { env: { BANGER_CONFIG: file } });
  expect(result.code).toBe(2);
  for (const words of [/log_levle/, /log_level/, /acel/, /accel/, /qemuu/]) expect(result.err).toMatch(words);
});
