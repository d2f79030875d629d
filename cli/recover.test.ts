// vm show of a VM that ended, and vm recover, against a scripted daemon.
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { VmRecoverResult } from '../core/api.ts';
import { FakeDaemon, fakeVm } from './testing/fake-daemon.ts';
import { runCli, type CliResult } from './testing/run-cli.ts';

let daemon: FakeDaemon;
beforeEach(async () => {
  daemon = await new FakeDaemon().listen();
});
afterEach(async () => {
  await daemon.dispose();
});
const banger = (...words: string[]): Promise<CliResult> => runCli(words, { env: daemon.env });
const end = { reason: 'guest-panic', at: '2026-01-02T03:04:05.000Z' };

test('vm show has the lines that tell how a VM ended, which a list has not', async () => {
  const vm = fakeVm('aaaaaaaaaaaa', 'devbox', { state: 'stopped', stateReason: 'guest panic: crash', end });
  daemon.vms = [vm];
  daemon.options = { methods: { 'vm.show': () => ({ vm: { ...vm, end: { ...end, detail: ['crash', '[ 1.0] Kernel panic\u001b[31m'] } } }) } };
  const { code, out } = await banger('vm', 'show', 'devbox');
  expect([code, daemon.called('vm.show')]).toEqual([0, [{ ref: 'aaaaaaaaaaaa' }]]);
  expect(out).toMatch(/^state +stopped \(guest panic: crash\)$/m);
  expect(out).toMatch(/\nended +2026-01-02T03:04:05\.000Z \(guest-panic\)\n {2}crash\n {2}\[ 1\.0\] Kernel panic\?\[31m\n$/);
  expect(JSON.parse((await banger('vm', 'show', 'devbox', '--json')).out)).toMatchObject({ vm: { end: { detail: ['crash', expect.any(String)] } } });
});

const answer = (more: Partial<VmRecoverResult>): VmRecoverResult => ({
  vm: fakeVm('aaaaaaaaaaaa', 'devbox', { state: 'stopped' }), startable: true, findings: [{ subject: 'image', state: 'ok', text: 'debian' }], ...more,
});

test('vm recover prints what was found and what can be done, and exits 1 when the VM cannot be started', async () => {
  daemon.options = { methods: { 'vm.recover': () => answer({ startable: false, findings: [
    { subject: 'image', state: 'ok', text: 'debian' }, { subject: 'root disk', state: 'broken', text: 'root.qcow2 is gone', hint: 'banger vm recover devbox --reset-root' },
  ] }) } };
  const { code, out, err } = await banger('vm', 'recover', 'devbox');
  expect([code, err]).toEqual([1, '']);
  expect(out).toBe([
    'devbox cannot be started', 'WHAT       STATE   FOUND', 'image      ok      debian', 'root disk  broken  root.qcow2 is gone',
    '  hint: root disk: banger vm recover devbox --reset-root', '',
  ].join('\n'));
  expect(daemon.called('vm.recover')).toEqual([{ ref: 'devbox', reset: [] }]);
});

test('vm recover asks for what it was told to make anew, and exits 0', async () => {
  daemon.options = { methods: { 'vm.recover': () => answer({}) } };
  expect(await banger('vm', 'recover', 'devbox', '--reset-root', '--reset-work')).toMatchObject({ code: 0, out: expect.stringMatching(/^devbox can be started\n/) });
  expect(daemon.called('vm.recover')).toEqual([{ ref: 'devbox', reset: ['root', 'work'] }]);
  expect(JSON.parse((await banger('vm', 'recover', 'devbox', '--json')).out)).toMatchObject({ startable: true, findings: [{ subject: 'image' }] });
});
