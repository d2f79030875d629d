import { expect, must, type Banger, type Scenario } from '../scenario.ts';

const state = async (banger: Banger, name: string): Promise<string> =>
  (JSON.parse(await must(banger, 'vm', 'show', name, '--json')) as { vm: { state: string } }).vm.state;
const bootId = (banger: Banger, name: string): Promise<string> => must(banger, 'vm', 'exec', name, '--', 'cat', '/proc/sys/kernel/random/boot_id');

export const vmLifecycle: Scenario = {
  name: 'vm_lifecycle', kind: 'pure', summary: 'create, stop, start, set, restart, kill, delete',
  async run(banger) {
    const name = 'smoke-life';
    await must(banger, 'vm', 'create', '--name', name, '--vcpu', '1');
    await must(banger, 'vm', 'exec', name, '--', 'sh', '-c', 'echo kept > /root/kept');
    await must(banger, 'vm', 'stop', name);
    expect(await state(banger, name) === 'stopped', 'not stopped');
    await must(banger, 'vm', 'set', name, '--vcpu', '2');
    await must(banger, 'vm', 'start', name);
    expect((await must(banger, 'vm', 'exec', name, '--', 'cat', '/root/kept')) === 'kept\n', '/root was lost');
    expect((await must(banger, 'vm', 'exec', name, '--', 'nproc')).trim() === '2', 'set --vcpu did not count');
    const before = await bootId(banger, name);
    await must(banger, 'vm', 'restart', name);
    expect(await bootId(banger, name) !== before, 'restart was no power cycle');
    await must(banger, 'vm', 'kill', name, '--signal', 'KILL');
    expect(await state(banger, name) === 'stopped', 'not stopped after kill');
    await must(banger, 'vm', 'delete', name);
  },
};

export const vmPrune: Scenario = {
  name: 'vm_prune', kind: 'global', summary: 'prune -f removes what does not run and keeps what does',
  async run(banger) {
    await must(banger, 'vm', 'run', '-d', '--name', 'smoke-keep');
    await must(banger, 'vm', 'create', '--no-start', '--name', 'smoke-drop');
    await must(banger, 'vm', 'prune', '-f');
    const left = (JSON.parse(await must(banger, 'vm', 'list', '--json')) as { vms: { name: string }[] }).vms.map((vm) => vm.name);
    expect(left.join() === 'smoke-keep', `left: ${left.join()}`);
    await must(banger, 'vm', 'delete', 'smoke-keep');
  },
};

export const cleanHost: Scenario = {
  name: 'clean_host', kind: 'global', summary: 'doctor finds no leak after all of it',
  async run(banger) {
    const report = JSON.parse(await must(banger, 'doctor', '--leaks', '--json')) as { leaks: unknown[]; undoFailed: unknown[] };
    expect(report.leaks.length === 0 && report.undoFailed.length === 0, JSON.stringify(report));
  },
};
