// known_hosts as ssh-keygen finds hosts in it, and the step that keeps it ahead of the first connection.
import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readFile, readdir, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { Logger, StartContext, UndoContext, Vm, Vms } from '../../core/plugin-api.ts';
import { waitFor } from '../../test/support/wait.ts';
import { identityStep } from './identity-step.ts';
import { ensureHostKey, hostKeyPath, removeHostKey } from './keys.ts';
import { createKnownHosts } from './known-hosts.ts';
import type { KnownHosts } from './known-hosts.ts';

type Listener = Parameters<Vms['onChange']>[0];
let dir: string;
let vms: Vm[];
let running: Set<string>;
const listeners = new Set<Listener>();
const warnings: object[] = [];
const log = { warn: (fields: object) => warnings.push(fields) } as unknown as Logger;
let knownHosts: KnownHosts;

beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'banger-known-hosts-'));
  vms = [];
  running = new Set();
  listeners.clear();
  warnings.length = 0;
  knownHosts = createKnownHosts({
    dir: join(dir, 'ssh'), log,
    vms: {
      list: () => [...vms], isRunning: (id) => running.has(id),
      onChange(listener) {
        listeners.add(listener);
        return () => listeners.delete(listener);
      },
    },
  });
});
afterEach(() => rm(dir, { recursive: true }));

async function addVm(name: string): Promise<Vm> {
  const vm = { id: name, name, dir: join(dir, name) } as Vm;
  await mkdir(vm.dir);
  vms.push(vm);
  return vm;
}
const find = (host: string): string => spawnSync('ssh-keygen', ['-F', host, '-f', knownHosts.file], { encoding: 'utf8' }).stdout.split('\n').filter((line) => !line.startsWith('#')).join('').trim();
const fingerprint = (file: string): string => execFileSync('ssh-keygen', ['-l', '-f', file], { encoding: 'utf8' }).split(' ')[1]!;

test('each VM is found under both of its names with its own key, and no other', async () => {
  for (const name of ['devbox', 'web']) await ensureHostKey(await addVm(name));
  await knownHosts.refresh();
  for (const vm of vms) {
    const { publicKey } = await ensureHostKey(vm);
    const row = `${vm.name}.vm,${vm.name} ${publicKey.split(' ').slice(0, 2).join(' ')}`;
    expect([find(vm.name), find(`${vm.name}.vm`)]).toEqual([row, row]);
  }
  expect([find('dev.vm'), find('devbox.vm.example')]).toEqual(['', '']);
  expect((await stat(knownHosts.file)).mode & 0o777).toBe(0o600);
});

test('a VM that never ran has no row; a running one of an older version gets its key', async () => {
  const [created, old] = [await addVm('created'), await addVm('old')];
  running.add(old.id);
  await knownHosts.refresh();
  expect(find('created.vm')).toBe('');
  expect(find('old.vm')).toContain('ssh-ed25519 ');
  expect(existsSync(hostKeyPath(created))).toBe(false);
});

test('the row follows when a VM goes, and nothing is left beside the file', async () => {
  const vm = await addVm('devbox');
  await ensureHostKey(vm);
  await knownHosts.refresh();
  const stop = knownHosts.follow();
  vms.pop();
  for (const listener of listeners) listener({ kind: 'deleted', vm });
  await waitFor('the row to go', () => find('devbox.vm') === '');
  await stop();
  expect(listeners.size).toBe(0);
  expect(await readdir(join(dir, 'ssh'))).toEqual(['known_hosts']);
});

test('many calls at once end with what was true at the last', async () => {
  const calls: Promise<void>[] = [];
  for (let i = 0; i < 20; i += 1) {
    const vm = await addVm(`vm${i}`);
    calls.push(ensureHostKey(vm).then(() => knownHosts.refresh()));
  }
  await Promise.all(calls);
  for (const vm of vms) expect(find(`${vm.name}.vm`)).not.toBe('');
});

test('a key that cannot be read costs its own VM the row, and no other', async () => {
  await ensureHostKey(await addVm('good'));
  const bad = await addVm('bad');
  await writeFile(hostKeyPath(bad), 'nonsense');
  await knownHosts.refresh();
  expect([find('good.vm') === '', find('bad.vm')]).toEqual([false, '']);
  expect(warnings).toMatchObject([{ vm: 'bad' }]);
});

test('an unchanged file is not written again', async () => {
  await ensureHostKey(await addVm('devbox'));
  await knownHosts.refresh();
  const { ino } = await stat(knownHosts.file);
  await knownHosts.refresh();
  expect((await stat(knownHosts.file)).ino).toBe(ino);
});

test('a failed write is told, and the next one works', async () => {
  await writeFile(join(dir, 'ssh'), 'in the way');
  await expect(knownHosts.refresh()).rejects.toThrow(/EEXIST|ENOTDIR/);
  await rm(join(dir, 'ssh'));
  await knownHosts.refresh();
  expect(await readFile(knownHosts.file, 'utf8')).toMatch(/^#/);
});

const start = (vm: Vm): StartContext => ({ vm, log, touched: () => Promise.resolve() }) as unknown as StartContext;
const undo = (vm: Vm): UndoContext => ({ vm, log, signal: new AbortController().signal, reason: 'delete' });

test('the step: the key is known when it has run, and gone after its undo, however often and with whatever left', async () => {
  const step = identityStep(knownHosts);
  const vm = await addVm('devbox');
  const plan = (await step.plan({ vm, log }))!;
  expect(plan.makes).toEqual([`file ${hostKeyPath(vm)}`]);
  expect(existsSync(hostKeyPath(vm))).toBe(false);
  await step.run(start(vm), plan.data);
  expect(find('devbox.vm')).toContain('ssh-ed25519');
  const first = fingerprint(hostKeyPath(vm));
  await step.run(start(vm), plan.data);
  expect(fingerprint(hostKeyPath(vm))).toBe(first);
  for (let i = 0; i < 2; i += 1) {
    await step.undo!(undo(vm), plan.data, i === 0 ? null : undefined);
    expect([existsSync(hostKeyPath(vm)), find('devbox.vm')]).toEqual([false, '']);
  }
});

test('the undo goes through where known_hosts cannot be written', async () => {
  const step = identityStep(knownHosts);
  const vm = await addVm('devbox');
  await ensureHostKey(vm);
  await writeFile(join(dir, 'ssh'), 'in the way');
  await step.undo!(undo(vm), { path: hostKeyPath(vm) }, null);
  expect(existsSync(hostKeyPath(vm))).toBe(false);
  expect(warnings).toHaveLength(1);
  await removeHostKey(vm);
});
