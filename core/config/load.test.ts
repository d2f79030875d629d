import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { z } from 'zod';
import { hostDefaults } from './defaults.ts';
import { issuesOf } from './issues.ts';
import { loadConfig } from './load.ts';
import type { Config } from './load.ts';
import { levenshtein, nearest } from './suggest.ts';

let dir: string;
beforeEach(() => { dir = mkdtempSync(join(tmpdir(), 'banger-config-')); });
afterEach(() => rmSync(dir, { recursive: true }));

const host = { cpus: 8, memoryMiB: 16_384 };
function load(text: string, env: Record<string, string> = {}): Config {
  const file = join(dir, 'config.toml');
  writeFileSync(file, text);
  return loadConfig({ file, env, host });
}

describe('loadConfig', () => {
  test('takes a missing file for an empty one', () => {
    const config = loadConfig({ file: join(dir, 'none.toml'), env: {}, host });
    expect(config).toMatchObject({ exists: false, issues: [], core: {
      logLevel: 'info', daemon: { idleExitMinutes: 15 }, vmDefaults: { vcpu: 2, memoryMiB: 2048, init: 'auto' },
      plugins: { disabled: [], required: [], load: [] },
    } });
    expect(config.core.vmDefaults).not.toHaveProperty('image');
  });

  test('knows the source of every value', () => {
    const { values } = load('[vm_defaults]\nmemory_mib = 700\n[plugins]\nload = ["./x.js"]\n', { BANGER_LOG_LEVEL: 'debug' });
    expect(Object.fromEntries(values)).toEqual({
      'log_level': { value: 'debug', source: 'environment' },
      'daemon.idle_exit_minutes': { value: 15, source: 'default' },
      'vm_defaults.vcpu': { value: 2, source: 'host' },
      'vm_defaults.memory_mib': { value: 700, source: 'file' },
      'vm_defaults.init': { value: 'auto', source: 'default' },
      'plugins.disabled': { value: [], source: 'default' },
      'plugins.required': { value: [], source: 'default' },
      'plugins.load': { value: ['./x.js'], source: 'file' },
    });
  });

  test('hands the sections of plugins on as they are', () => {
    const config = load('[plugins]\ndisabled = ["dns"]\n[plugins.qemu]\naccelerator = "kvm"\n[plugins.my-own]\nx = {y = 1}\n');
    expect(config.issues).toEqual([]);
    expect(config.core.plugins.disabled).toEqual(['dns']);
    expect([...config.sections]).toEqual([['qemu', { accelerator: 'kvm' }], ['my-own', { x: { y: 1 } }]]);
  });

  test('reports every problem at once, with the key that was meant', () => {
    const { issues } = load(`
      log_levl = "info"
      [deamon]
      [vm_defaults]
      vcpu = 0
      memory_mb = 512
      init = "systemd"
      [plugins]
      disable = ["x"]
      load = "x"
    `, { BANGER_LOG_LEVEL: 'inof' });
    const byPath = Object.fromEntries(issues.map((issue) => [issue.path, issue.message]));
    expect(byPath).toMatchObject({
      'log_levl': 'unknown key (did you mean "log_level"?)',
      'deamon': 'unknown key (did you mean "daemon"?)',
      'vm_defaults.memory_mb': 'unknown key (did you mean "memory_mib"?)',
      'plugins.disable': expect.stringContaining('did you mean "disabled"?') as string,
      'BANGER_LOG_LEVEL': 'must be one of debug, info, warn, error (did you mean "info"?)',
    });
    expect(Object.keys(byPath).sort()).toEqual([
      'BANGER_LOG_LEVEL', 'deamon', 'log_levl', 'plugins.disable', 'plugins.load', 'vm_defaults.init', 'vm_defaults.memory_mb', 'vm_defaults.vcpu',
    ]);
  });

  test('gives line and column of what is not TOML', () => {
    expect(() => load('a = 1\nb = [1,\nc=')).toThrow(expect.objectContaining({
      code: 'config_invalid', message: expect.stringMatching(/config\.toml has a problem: line \d+, column \d+: \w/) as string,
    }));
  });

  test('does not take a table for a value or a file for a prototype', () => {
    expect(load('plugins = 3\n').issues.map((issue) => issue.path)).toEqual(['plugins']);
    expect(load('__proto__ = {a = 1}\n').issues).toHaveLength(1);
    expect(load('[plugins]\n"a b" = 3\n').issues[0]?.path).toBe('plugins."a b"');
  });

  test('says that a file cannot be read', () => {
    expect(() => loadConfig({ file: dir, env: {}, host })).toThrow(/cannot be read/);
  });
});

test.each([
  [{ cpus: 1, memoryMiB: 1000 }, { vcpu: 1, memoryMiB: 512 }],
  [{ cpus: 7, memoryMiB: 8192 }, { vcpu: 1, memoryMiB: 1024 }],
  [{ cpus: 8, memoryMiB: 24_105 }, { vcpu: 2, memoryMiB: 3013 }],
  [{ cpus: 64, memoryMiB: 262_144 }, { vcpu: 4, memoryMiB: 8192 }],
])('derives defaults from the host %j', (size, expected) => {
  expect(hostDefaults(size)).toEqual(expected);
});

test('suggests only words that are near', () => {
  expect(levenshtein('kitten', 'sitting')).toBe(3);
  expect(nearest('acelerator', ['accelerator', 'binary'])).toBe('accelerator');
  expect(nearest('zzz', ['accelerator', 'binary'])).toBeUndefined();
  expect(nearest('Binary', ['binary'])).toBe('binary');
});

test('finds known keys through wrappers, lists, records and unions', () => {
  const schema = z.strictObject({
    list: z.array(z.strictObject({ colour: z.string().optional() })).default([]),
    map: z.record(z.string(), z.strictObject({ size: z.number().optional() }).optional()).optional(),
  }).prefault({});
  const result = schema.safeParse({ list: [{ color: 'x' }], map: { a: { sise: 1 } } });
  expect(issuesOf(result.error!, schema, { prefix: ['plugins', 'p'] })).toEqual([
    { path: 'plugins.p.list.0.color', message: 'unknown key (did you mean "colour"?)' },
    { path: 'plugins.p.map.a.sise', message: 'unknown key (did you mean "size"?)' },
  ]);
});
