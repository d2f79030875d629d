import { chmodSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { Config } from '../config/load.ts';
import { loadConfig } from '../config/load.ts';
import { operationFailed } from '../errors.ts';
import { ensureDirs, resolvePaths } from '../paths.ts';
import type { Paths } from '../paths.ts';
import type { DoctorCheck, PluginStatus } from '../plugin-api.ts';
import type { PluginHost } from '../plugins/host.ts';
import { openStore } from '../store/store.ts';
import type { Store } from '../store/store.ts';
import { configFinding, createCoreChecks, diskFinding, memoryFinding, nodeFinding } from './core-checks.ts';
import { runDoctor } from './run.ts';

let dir: string;
let paths: Paths;
let store: Store;
let config: Config;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'banger-doctor-'));
  paths = resolvePaths({ XDG_STATE_HOME: dir, XDG_CACHE_HOME: join(dir, 'c'), XDG_CONFIG_HOME: dir });
  ensureDirs(paths);
  store = openStore(paths.stateDir);
  config = loadConfig({ file: paths.configFile, env: {}, host: { cpus: 4, memoryMiB: 8192 } });
});
afterEach(() => {
  store.close();
  rmSync(dir, { recursive: true });
});

type Host = Pick<PluginHost, 'statuses' | 'checks' | 'tasks'>;
const emptyHost: Host = { statuses: () => [], checks: () => [], tasks: () => [] };
const status = (name: string, parts: Partial<PluginStatus>): PluginStatus => ({
  name, version: '1', summary: '', source: 'builtin', state: 'active', requires: [], provides: [], methods: [], steps: [], checks: [], ...parts,
});
const checking = (...checks: DoctorCheck<unknown>[]): Host => ({ ...emptyHost, checks: () => checks.map((check) => ({ plugin: 'p', check, config: { n: 1 } })) });
const coreChecks = (): ReturnType<typeof createCoreChecks> =>
  createCoreChecks({ paths, config, configValues: config.values, store, logFile: paths.daemonLog });
const levelOf = async (name: string): Promise<{ level: string; detail: string } | undefined> => {
  const report = await runDoctor({ host: emptyHost, coreChecks: coreChecks() });
  const finding = report.checks.find((check) => check.name === name);
  return finding && { level: finding.level, detail: finding.detail.join('\n') };
};

test('reports every check of core on this host, and leaves nothing behind', async () => {
  writeFileSync(paths.daemonLog, 'x');
  const before = readdirSync(paths.stateDir).sort();
  const report = await runDoctor({ host: emptyHost, coreChecks: coreChecks() });
  expect(report.checks.map((check) => [check.plugin, check.name])).toEqual(
    ['node', 'state directory', 'store', 'disk space', 'memory', 'configuration', 'log'].map((name) => ['core', name]));
  expect(report.checks.filter((check) => ['node', 'state directory', 'store', 'configuration', 'log'].includes(check.name)).map((check) => check.level))
    .toEqual(['pass', 'pass', 'pass', 'pass', 'pass']);
  expect(readdirSync(paths.stateDir).sort()).toEqual(before);
});

test('runs all checks at once with their configuration, in their order', async () => {
  let release = (): void => {};
  const released = new Promise<void>((resolve) => { release = resolve; });
  const report = await runDoctor({
    coreChecks: [],
    host: checking(
      { name: 'waits', run: async ({ config: own }) => { await released; return { level: 'pass', detail: [JSON.stringify(own)] }; } },
      { name: 'releases', run: () => { release(); return Promise.resolve({ level: 'warn', detail: [], hint: 'look' }); } },
    ),
  });
  expect(report).toEqual({ ok: true, plugins: [], checks: [
    { name: 'waits', plugin: 'p', level: 'pass', detail: ['{"n":1}'] }, { name: 'releases', plugin: 'p', level: 'warn', detail: [], hint: 'look' },
  ] });
});

test('makes a finding of a check that throws, hangs or answers nonsense', async () => {
  let aborted = false;
  const report = await runDoctor({
    coreChecks: [], limitMs: 30,
    host: checking(
      { name: 'throws', run: () => { throw operationFailed('no such file', { hint: 'make it' }); } },
      { name: 'hangs', run: ({ signal }) => new Promise(() => signal.addEventListener('abort', () => { aborted = true; })) },
      { name: 'nonsense', run: () => Promise.resolve(undefined as never) },
      { name: 'fine', run: () => Promise.resolve({ level: 'pass', detail: ['yes'] }) },
    ),
  });
  expect(report.ok).toBe(false);
  expect(report.checks.map((check) => [check.name, check.level])).toEqual([['throws', 'fail'], ['hangs', 'fail'], ['nonsense', 'fail'], ['fine', 'pass']]);
  expect(report.checks[0]).toMatchObject({ detail: ['no such file'], hint: 'make it' });
  expect(report.checks[1]?.detail[0]).toContain('check hangs');
  expect(aborted).toBe(true);
});

test('has a row for plugins and tasks that do not work, and none for the others', async () => {
  const statuses = [
    status('fine', {}), status('off', { state: 'disabled' }), status('broken', { state: 'failed', reason: 'no tool', source: '/opt/broken.js' }),
    status('absent', { state: 'skipped', reason: 'no /dev/net/tun' }),
  ];
  const report = await runDoctor({ coreChecks: [], host: { ...emptyHost, statuses: () => statuses, tasks: () => [
    { plugin: 'fine', name: 'tick', state: 'running', failures: 0 }, { plugin: 'fine', name: 'watch', state: 'waiting', failures: 3, lastError: 'gone' },
  ] } });
  expect(report.checks).toMatchObject([
    { name: 'plugin broken', plugin: 'broken', level: 'fail', detail: ['failed: no tool', 'loaded from /opt/broken.js'] },
    { name: 'plugin absent', level: 'warn', detail: ['skipped: no /dev/net/tun'] },
    { name: 'task watch', plugin: 'fine', level: 'warn', detail: ['failed 3 times, last: gone', 'restarts after a pause'] },
  ]);
  expect(report.checks).toHaveLength(3);
  expect(report).toMatchObject({ ok: false, plugins: statuses });
});

test('fails for a state directory that others may write to, or that is gone', async () => {
  chmodSync(paths.stateDir, 0o777);
  expect(await levelOf('state directory')).toMatchObject({ level: 'fail', detail: expect.stringContaining('others may write') as string });
  const gone = createCoreChecks({ paths: { ...paths, stateDir: join(dir, 'gone') }, config, configValues: config.values, store });
  const report = await runDoctor({ host: emptyHost, coreChecks: gone });
  expect(report.checks.find((check) => check.name === 'state directory')).toMatchObject({ level: 'fail', detail: [expect.stringContaining('ENOENT')] });
});

test('names every undo that failed', async () => {
  const seq = store.ledger.insert({
    owner: 'vm:0123456789ab', step: 'disks.root', plugin: 'disks', lifetime: 'vm', lifeline: false, plan: {}, opId: 'op-1', hostBootId: 'b',
  });
  expect(await levelOf('store')).toMatchObject({ level: 'pass' });
  store.ledger.setUndoFailed(seq, 'device busy');
  expect(await levelOf('store')).toMatchObject({
    level: 'fail', detail: expect.stringContaining('undo of disks.root of VM 0123456789ab failed: device busy') as string,
  });
});

test('fails for a store that does not answer', async () => {
  store.close();
  expect(await levelOf('store')).toMatchObject({ level: 'fail' });
  store = openStore(paths.stateDir);
});

test('fails for a log that is gone', async () => {
  expect(await levelOf('log')).toMatchObject({ level: 'fail' });
});

test('shows each value with its source, and no secrets', () => {
  const finding = configFinding(config, new Map([...config.values, ['plugins.hub.token', { value: 's3cret', source: 'file' as const }]]));
  expect(finding.detail[0]).toBe(`${paths.configFile} (not there, so all is default)`);
  expect(finding.detail).toContain('vm_defaults.memory_mib = 1024 (host)');
  expect(finding.detail).toContain('plugins.hub.token = "[redacted]" (file)');
});

test.each([
  [nodeFinding('24.0.1'), 'pass'], [nodeFinding('22.14.0'), 'fail'],
  [diskFinding(100_000, '/s'), 'pass'], [diskFinding(4000, '/s'), 'warn'], [diskFinding(900, '/s'), 'fail'],
  [memoryFinding(4096, 1024), 'pass'], [memoryFinding(1000, 1024), 'warn'], [memoryFinding(200, 1024), 'fail'], [memoryFinding(undefined, 1024), 'warn'],
])('judges %j as %s', (finding, level) => {
  expect(finding.level).toBe(level);
});
