// A key beside `[plugins]` that a plugin takes: its values, its problems under the name that the person wrote, and no others' affair.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { z } from 'zod';
import { loadConfig } from '../config/load.ts';
import type { Issue } from '../errors.ts';
import { nullLog } from '../log.ts';
import { collectPlugins } from './collect.ts';
import type { Collected } from './collect.ts';
import { definitionProblem } from './definition.ts';
import type { AnyPlugin } from './definition.ts';

let dir: string;
beforeEach(() => { dir = mkdtempSync(join(tmpdir(), 'banger-config-key-')); });
afterEach(() => rmSync(dir, { recursive: true }));

const entry = z.strictObject({ from: z.string().min(1, 'is empty'), size: z.number().default(1) });
const plugin: AnyPlugin = {
  name: 'carrier', version: '1.0.0', apiVersion: 1, summary: 'Carries.', setup() {}, configKey: 'cargo_list',
  config: z.strictObject({ fast: z.boolean().default(false), entries: z.array(entry).default([]) }),
};
function collect(text: string, thirdParty = false): Promise<Collected> {
  const file = join(dir, 'config.toml');
  writeFileSync(file, text);
  const config = loadConfig({ file, env: {}, host: { cpus: 4, memoryMiB: 4096 }, pluginKeys: thirdParty ? [] : ['cargo_list'] });
  return collectPlugins({ builtins: [plugin], discovered: [], config, reservedFlags: [], log: nullLog });
}
const issuesOf = async (text: string, thirdParty = false): Promise<Record<string, string>> => {
  const error = await collect(text, thirdParty).then(() => undefined, (reason: unknown) => reason as { detail: { issues: Issue[] } });
  return Object.fromEntries((error?.detail.issues ?? []).map((issue) => [issue.path, issue.message]));
};

test('reaches the plugin as its entries, beside its section, and is shown under its own name', async () => {
  const { records, values } = await collect('[[cargo_list]]\nfrom = "a"\n[[cargo_list]]\nfrom = "b"\nsize = 2\n[plugins.carrier]\nfast = true\n');
  expect(records[0]?.config).toEqual({ fast: true, entries: [{ from: 'a', size: 1 }, { from: 'b', size: 2 }] });
  expect(values.get('cargo_list')).toMatchObject({ source: 'file' });
  expect(values.get('plugins.carrier.fast')).toEqual({ value: true, source: 'file' });
});

test('may be absent', async () => {
  const { records, values } = await collect('');
  expect(records[0]?.config).toEqual({ fast: false, entries: [] });
  expect(values.get('cargo_list')).toEqual({ value: [], source: 'default' });
});

test('has its problems told with the number of the entry, in one round with all others', async () => {
  expect(await issuesOf('log_levl = "x"\n[[cargo_list]]\nfrom = "a"\n[[cargo_list]]\nfrom = ""\nsise = 3\n')).toEqual({
    log_levl: 'unknown key (did you mean "log_level"?)', 'cargo_list[1].from': 'is empty', 'cargo_list[1].sise': 'unknown key (did you mean "size"?)',
  });
  expect(Object.keys(await issuesOf('cargo_list = 3\n'))).toEqual(['cargo_list']);
});

test('is named for a key that is nearly it', async () => {
  expect(await issuesOf('[[cargo_lists]]\nfrom = "a"\n')).toEqual({ cargo_lists: 'unknown key (did you mean "cargo_list"?)' });
});

test('is not to be had in the section of the plugin', async () => {
  expect(await issuesOf('[plugins.carrier]\nentries = [{from = "a"}]\n')).toEqual({ 'plugins.carrier.entries': 'unknown key; write cargo_list at the top of the file' });
});

test('is unknown where no plugin takes it, and no third-party plugin may', async () => {
  expect(await issuesOf('[[cargo_list]]\nfrom = "a"\n', true)).toHaveProperty('cargo_list', 'unknown key');
  expect(definitionProblem(plugin, true)).toMatch(/only built-in plugins/);
  expect(definitionProblem(plugin, false)).toBeUndefined();
});
