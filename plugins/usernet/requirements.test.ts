import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { createExec } from '../../core/exec.ts';
import type { Exec, Logger, StartContext, Vm } from '../../core/plugin-api.ts';
import { preflightStep } from './netns.ts';
import type { NetnsDeps } from './netns.ts';
import { findNamespaceProblem, findSlirpProblem, findTunProblem, usernetChecks } from './requirements.ts';
import type { NetworkHost } from './requirements.ts';

const log: Logger = { debug() {}, info() {}, warn() {}, error() {}, child: () => log };
let dir: string;
let host: NetworkHost;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'banger-req-'));
  for (const part of ['user', 'kernel']) mkdirSync(join(dir, part));
  writeFileSync(join(dir, 'tun'), '');
  host = { uid: 1000, tunPath: join(dir, 'tun'), sysctlDir: dir };
});
afterEach(() => { rmSync(dir, { recursive: true, force: true }); });

test('an ordinary kernel allows user namespaces', () => {
  writeFileSync(join(dir, 'user/max_user_namespaces'), '96365\n');
  expect(findNamespaceProblem(host)).toBeUndefined();
});
test.each([
  ['user/max_user_namespaces', '0', 'switched off'],
  ['kernel/unprivileged_userns_clone', '0', 'closed to ordinary users'],
  ['kernel/apparmor_restrict_unprivileged_userns', '1', 'AppArmor'],
])('%s = %s is named, but no matter to root', (name, value, words) => {
  writeFileSync(join(dir, name), `${value}\n`);
  expect(findNamespaceProblem(host)).toMatchObject({ what: expect.stringContaining(words), hint: expect.stringContaining('sysctl') });
  expect(findNamespaceProblem({ ...host, uid: 0 })).toBeUndefined();
});
test('tells a missing tun device from a closed one', () => {
  expect(findTunProblem(host)).toBeUndefined();
  expect(findTunProblem({ ...host, tunPath: join(dir, 'none') })).toMatchObject({ hint: 'modprobe tun (as root)' });
});
test('a tun device of root only is closed', ({ skip }) => {
  skip(process.getuid?.() === 0, 'root opens every file');
  chmodSync(host.tunPath, 0);
  expect(findTunProblem(host)).toMatchObject({ what: expect.stringContaining('not open to this user') });
});
test('a missing slirp4netns names the package', async () => {
  expect(await findSlirpProblem(createExec(), join(dir, 'no-such-program'))).toMatchObject({ hint: 'install the package slirp4netns' });
});

const vm = (network: string): Vm => ({ spec: { sections: { usernet: { network } } } } as unknown as Vm);
function preflight(exec: Exec) {
  return preflightStep({ exec, network: { ...host, tunPath: join(dir, 'none') }, config: { slirp4netns: join(dir, 'none') } } as NetnsDeps);
}
test('the preflight names everything that is missing and the way without', async () => {
  const step = preflight(createExec());
  expect(await step.plan({ vm: vm('none'), log })).toBeUndefined();
  expect(await step.plan({ vm: vm('user'), log })).toMatchObject({ makes: [] });
  await expect(step.run({ vm: vm('user') } as StartContext, {})).rejects.toMatchObject({
    code: 'missing_requirement', message: expect.stringMatching(/none does not exist; .*none is not found/), hint: expect.stringContaining('--network none'),
  });
});

test('each check names one thing, with its hint', async () => {
  const checks = usernetChecks({ exec: createExec() }, { ...host, tunPath: join(dir, 'none') });
  const env = { config: { slirp4netns: '/bin/sh' }, signal: AbortSignal.timeout(10_000) };
  const results = await Promise.all(checks.map((check) => check.run(env)));
  expect(checks.map((check) => check.name)).toEqual(['user namespaces', '/dev/net/tun', 'slirp4netns']);
  expect(results.map((result) => result.level)).toEqual(['pass', 'warn', 'pass']);
  expect(results[1]?.hint).toBe('modprobe tun (as root)');
});
