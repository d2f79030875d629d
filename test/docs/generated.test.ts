// The generated pages are what the generator writes now, and the method names are what clients were promised.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, expect, test } from 'vitest';
import type { OpenRpcDocument } from '../../core/rpc/discover.ts';
import { configPage, discoverMethods, rpcPage } from '../../scripts/gen-docs.ts';
import { repoRoot } from '../support/source-tree.ts';

let document: OpenRpcDocument;
beforeAll(async () => {
  document = await discoverMethods();
});
const page = (name: string): string => readFileSync(join(repoRoot, 'docs', name), 'utf8');
const remedy = 'run: node scripts/gen-docs.ts';

test('docs/config.md is fresh', () => {
  expect(page('config.md'), remedy).toBe(configPage());
});

test('docs/rpc.md is fresh', () => {
  expect(page('rpc.md'), remedy).toBe(rpcPage(document));
});

/** Published names: clients and scripts call them. A new method is added here; none goes. */
const names = [
  'daemon.operations.cancel', 'daemon.operations.list', 'daemon.operations.show', 'daemon.status',
  'doctor.leaks', 'doctor.reclaim', 'doctor.run',
  'image.delete', 'image.list', 'image.pull', 'image.show',
  'kernel.delete', 'kernel.list', 'kernel.pull', 'kernel.show',
  'ping', 'plugin.cli', 'plugin.list', 'rpc.discover', 'rpc.hello', 'shutdown', 'ssh.config', 'stats.metrics',
  'vm.console', 'vm.copy', 'vm.create', 'vm.create.begin', 'vm.create.cancel', 'vm.create.status',
  'vm.delete', 'vm.exec', 'vm.exec.detach', 'vm.exec.list', 'vm.exec.logs', 'vm.health',
  'vm.kill', 'vm.list', 'vm.logs', 'vm.pause', 'vm.ping', 'vm.plan', 'vm.port.add', 'vm.port.list', 'vm.port.rm', 'vm.ports', 'vm.recover', 'vm.restart', 'vm.resume', 'vm.set', 'vm.show', 'vm.ssh', 'vm.start', 'vm.stats', 'vm.stop',
  'vm.workspace.export', 'vm.workspace.prepare', 'vm.workspace.pull', 'vm.workspace.status',
];
/** Names kept for what is not built yet: nothing else may take them meanwhile. */
const later = [
  'image.cache.prune', 'image.promote', 'image.register', 'kernel.catalog', 'kernel.import',
];

test('the daemon has exactly these methods', () => {
  expect(document.methods.map((method) => method.name)).toEqual(names);
});

test('no kept name is taken, and a method that comes moves to the first list', () => {
  const registered = new Set(document.methods.map((method) => method.name));
  expect(later.filter((name) => registered.has(name))).toEqual([]);
});

test('every method has a summary, and the ones without params are known', () => {
  expect(document.methods.filter((method) => method.summary.length < 5)).toEqual([]);
  expect(document.methods.filter((method) => method.params.length === 0).map((method) => method.name)).toEqual([
    'daemon.operations.list', 'daemon.status', 'doctor.leaks', 'doctor.reclaim', 'doctor.run', 'image.list', 'kernel.list',
    'ping', 'plugin.cli', 'plugin.list', 'rpc.discover', 'shutdown', 'ssh.config', 'stats.metrics', 'vm.list',
  ]);
});
