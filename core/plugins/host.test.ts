import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { z } from 'zod';
import { loadConfig } from '../config/load.ts';
import type { Config } from '../config/load.ts';
import { nullLog } from '../log.ts';
import { resolvePaths } from '../paths.ts';
import { capability, definePlugin, skipPlugin } from '../plugin-api.ts';
import type { RpcMethod, Step } from '../plugin-api.ts';
import type { AnyPlugin } from './definition.ts';
import { bootPlugins, provision } from './host.ts';
import type { BootOptions, PluginHost } from './host.ts';

interface Words { say(): string }
const Words = capability<Words>('words@1');
const Host = capability<{ readonly name: string }>('test-host@1');
const Host2 = capability<string>('host-two@1');
const Source = capability<string>('source@1', 'many');

let dir: string;
const hosts: PluginHost[] = [];
beforeEach(() => { dir = mkdtempSync(join(tmpdir(), 'banger-host-')); });
afterEach(async () => {
  for (const host of hosts.splice(0)) await host.close();
  rmSync(dir, { recursive: true });
});

function configOf(text: string): Config {
  const file = join(dir, 'config.toml');
  writeFileSync(file, text);
  return loadConfig({ file, env: {}, host: { cpus: 4, memoryMiB: 4096 } });
}
async function boot(builtins: readonly AnyPlugin[], options: Partial<Omit<BootOptions, 'config'>> & { readonly config?: string } = {}): Promise<PluginHost> {
  const host = await bootPlugins({
    builtins, log: nullLog, paths: resolvePaths({ XDG_STATE_HOME: dir, XDG_CACHE_HOME: dir }), cwd: dir,
    core: [provision(Host, { name: 'testing' })],
    createJobRunner: () => (_plan, call, fn) => fn({ mark: 'm', signal: call.signal }),
    ...options, config: configOf(options.config ?? ''),
  });
  hosts.push(host);
  return host;
}
type Parts = Partial<Omit<AnyPlugin, 'setup'>> & { setup?: AnyPlugin['setup'] };
const plugin = (name: string, parts: Parts = {}): AnyPlugin =>
  ({ name, version: '1.0.0', apiVersion: 1, summary: `Plugin ${name}.`, config: z.strictObject({}), setup() {}, ...parts });
const provider = (name: string, parts: Parts = {}): AnyPlugin =>
  plugin(name, { provides: [Words], setup: (ctx) => ctx.provide(Words, { say: () => name }), ...parts });
const consumer = (name: string): AnyPlugin => plugin(name, { requires: [Words], setup: (ctx) => void ctx.use(Words) });
const method = (): RpcMethod<z.ZodType, z.ZodType> =>
  ({ summary: 'Greets.', effect: 'read', params: z.strictObject({}), result: z.strictObject({}), handler: () => ({}) });
const step = (name: string): Step => ({ name, phase: 'network', timeoutMs: 1000, plan: () => undefined, run: () => Promise.resolve(null) });
const statesOf = (host: PluginHost): Record<string, string> =>
  Object.fromEntries(host.statuses().map((status) => [status.name, status.reason === undefined ? status.state : `${status.state}: ${status.reason}`]));

describe('a booted host', () => {
  test('gives capabilities of core and of plugins to those that declared them', async () => {
    const seen: string[] = [];
    const host = await boot([
      definePlugin({
        name: 'reader', version: '1.0.0', apiVersion: 1, summary: 'Reads.', config: z.strictObject({}), requires: [Words, Host], optional: [Source],
        setup(ctx) {
          seen.push(ctx.use(Words).say(), ctx.use(Host).name, [...ctx.useAll(Source)].join(' '));
        },
      }),
      provider('writer'),
      plugin('s1', { provides: [Source], setup: (ctx) => ctx.provide(Source, 'one') }),
      plugin('s2', { provides: [Source], setup: (ctx) => ctx.provide(Source, 'two') }),
    ]);
    expect(seen).toEqual(['writer', 'testing', 's1,one s2,two']);
    expect(host.capability(Words)?.say()).toBe('writer');
    expect([...host.capabilities(Source).keys()]).toEqual(['s1', 's2']);
    expect(host.capability(capability<string>('none@1'))).toBeUndefined();
  });

  test('keeps what plugins registered, stamped, in boot order, frozen', async () => {
    const registering = (name: string, requires: AnyPlugin['requires'] = []): AnyPlugin => plugin(name, {
      requires, provides: requires.length === 0 ? [Words] : [],
      setup(ctx) {
        if (requires.length === 0) ctx.provide(Words, { say: () => name });
        ctx.rpc(`${name}.greet`, method());
        ctx.step(step(`${name}.second`));
        ctx.step(step(`${name}.first`));
        ctx.beforeStop({ name: `${name}.ask`, timeoutMs: 1, run: () => Promise.resolve() });
        ctx.contribute('machine', 'drive', (machine) => machine);
        ctx.reconfigure('toggle', () => Promise.resolve());
        ctx.resources('files', () => Promise.resolve([]));
        ctx.job({ name: `${name}.build`, undo: () => Promise.resolve() });
      },
    });
    const host = await boot([registering('late', [Words]), registering('early')]);
    const { registrations } = host;
    expect(registrations.steps.map(({ plugin: owner, step: { name } }) => [owner, name])).toEqual([
      ['early', 'early.second'], ['early', 'early.first'], ['late', 'late.second'], ['late', 'late.first'],
    ]);
    expect(registrations.methods.map(({ owner, name }) => [owner, name])).toEqual([['early', 'early.greet'], ['late', 'late.greet']]);
    expect(registrations.contributions).toMatchObject([{ plugin: 'early', to: 'machine', name: 'drive' }, { plugin: 'late' }]);
    expect([registrations.stopSteps.length, registrations.reconfigurers.length, registrations.resources.length, registrations.jobs.length]).toEqual([2, 2, 2, 2]);
    expect(() => (registrations.steps as unknown[]).push(1)).toThrow(TypeError);
    expect(host.statuses()[1]).toMatchObject({
      name: 'early', state: 'active', source: 'builtin', provides: ['words@1'], methods: ['early.greet'], steps: ['early.second', 'early.first'],
    });
  });

  test('gives checks, commands and sections as data', async () => {
    const spec = { schema: z.strictObject({ open: z.boolean().default(false) }), flags: [{ name: 'open', key: 'open', type: 'boolean' as const, summary: 'Opens.', verbs: ['run' as const] }] };
    const check = { name: 'tools', run: () => Promise.resolve({ level: 'pass' as const, detail: [] }) };
    const command = { path: ['door', 'open'] as const, summary: 'Opens.', method: 'door.open' };
    const host = await boot([
      plugin('door', { spec, checks: [check], commands: [command], config: z.strictObject({ key: z.string().default('brass') }) }),
      plugin('absent', { checks: [check], setup: () => skipPlugin('no door here') }),
      plugin('off', { checks: [check] }),
    ], { config: '[plugins]\ndisabled = ["off"]\n' });
    expect(host.checks()).toEqual([{ plugin: 'door', check, config: { key: 'brass' } }, { plugin: 'absent', check, config: {} }]);
    expect(host.commands()).toEqual([{ ...command, plugin: 'door' }]);
    expect(host.specSections()).toEqual([{ plugin: 'door', section: spec }]);
    expect(statesOf(host)).toEqual({ door: 'active', absent: 'skipped: no door here', off: 'disabled' });
  });

  test('ends plugins in reverse order, past one that fails and one that hangs', async () => {
    const order: string[] = [];
    const ending = (name: string, parts: Parts, dispose?: () => Promise<void>): AnyPlugin => plugin(name, { ...parts, setup(ctx) {
      for (const cap of parts.provides ?? []) ctx.provide(cap, { say: () => '' });
      ctx.onDispose(() => void order.push(`${name} 1`));
      ctx.onDispose(async () => {
        order.push(`${name} 2 ${ctx.signal.aborted}`);
        await dispose?.();
      });
    } });
    const host = await boot([
      ending('user', { requires: [Words] }, () => Promise.reject(new Error('stuck'))),
      ending('base', { provides: [Words] }),
      ending('slow', {}, () => new Promise(() => {})),
    ], { closeLimitMs: 50 });
    const failures = await host.close();
    expect(order).toEqual(['slow 2 true', 'slow 1', 'user 2 true', 'user 1', 'base 2 true', 'base 1']);
    expect(failures.map((failure) => failure.label)).toEqual(['plugin slow', 'plugin user']);
  });

  test('runs tasks after all are set up, and ends them at close before what they use', async () => {
    const events: string[] = [];
    const host = await boot([
      plugin('ticker', { setup(ctx) {
        ctx.onDispose(() => void events.push('disposed'));
        ctx.task('tick', (signal) => new Promise((resolve) => {
          events.push('task began');
          signal.addEventListener('abort', () => { events.push('task ended'); resolve(); });
        }));
      } }),
      plugin('later', { setup: () => void events.push('later set up') }),
    ]);
    await vi.waitFor(() => expect(events).toContain('task began'));
    expect(host.tasks()).toMatchObject([{ plugin: 'ticker', name: 'tick', state: 'running', failures: 0 }]);
    await host.close();
    expect(events).toEqual(['later set up', 'task began', 'task ended', 'disposed']);
  });
});

describe('one bad plugin', () => {
  test('that fails in setup leaves nothing behind, and those that need it are skipped', async () => {
    const order: string[] = [];
    const host = await boot([
      consumer('leaf'),
      provider('broken', { setup(ctx) {
        ctx.provide(Words, { say: () => 'half' });
        ctx.rpc('broken.greet', method());
        ctx.onDispose(() => void order.push('first'));
        ctx.onDispose(() => void order.push(`second ${ctx.signal.aborted}`));
        throw new Error('no such tool');
      } }),
      plugin('fine'),
    ]);
    expect(statesOf(host)).toEqual({ leaf: 'skipped: needs words@1; plugin broken provides it but failed', broken: 'failed: no such tool', fine: 'active' });
    expect(order).toEqual(['second true', 'first']);
    expect(host.registrations.methods).toEqual([]);
    expect(host.capability(Words)).toBeUndefined();
    expect(host.statuses()[1]?.methods).toEqual([]);
  });

  test('that hangs in setup is named after its limit', async () => {
    const host = await boot([plugin('sleepy', { setup: () => new Promise(() => {}) }), plugin('fine')], { setupLimitMs: 30 });
    expect(statesOf(host)).toMatchObject({ sleepy: expect.stringMatching(/^failed: Gave up waiting for setup of plugin sleepy/) as string, fine: 'active' });
  });

  test('that registers after setup is told so, and what it made late is ended at once', async () => {
    let late: (() => void) | undefined;
    const ended: string[] = [];
    const host = await boot([plugin('sleepy', { async setup(ctx) {
      await new Promise<void>((resolve) => { late = resolve; });
      ctx.onDispose(() => void ended.push('late'));
      expect(() => ctx.rpc('sleepy.greet', method())).toThrow(/after setup had ended/);
      ended.push('refused');
    } })], { setupLimitMs: 30 });
    late?.();
    await vi.waitFor(() => expect(ended).toEqual(['refused', 'late']));
    expect(host.registrations.methods).toEqual([]);
  });

  test('that does not provide what it declared is failed', async () => {
    const host = await boot([plugin('empty', { provides: [Words] }), consumer('leaf')]);
    expect(statesOf(host)).toMatchObject({ empty: 'failed: setup did not provide words@1', leaf: expect.stringMatching(/^skipped/) as string });
  });

  test.each<[string, AnyPlugin['setup'], RegExp]>([
    ['uses what it did not declare', (ctx) => void ctx.use(Words as never), /uses words@1 without having it in requires/],
    ['uses an optional as a required', (ctx) => void ctx.use(Source as never), /uses source@1 without/],
    ['asks for one of many', (ctx) => { ctx.useOptional(Source as never); }, /ask for it with useAll/],
    ['provides what it did not declare', (ctx) => ctx.provide(Words as never, {} as never), /without having it in provides/],
    ['takes the name of a method twice', (ctx) => { ctx.rpc('bad.greet', method()); ctx.rpc('bad.greet', method()); }, /bad\.greet is registered by bad already/],
    ["takes another's method", (ctx) => ctx.rpc('vm.taken', method()), /vm\.taken is registered by core already/],
    ["uses another's prefix", (ctx) => ctx.rpc('good.greet', method()), /is not named bad\.<verb>/],
    ['has a method without a prefix', (ctx) => ctx.rpc('bad', method()), /is not named bad\.<verb>/],
    ['has a method that lets unknown fields through', (ctx) => ctx.rpc('bad.greet', { ...method(), params: z.object({}) }), /not a z\.strictObject/],
    ["takes another's step", (ctx) => ctx.step(step('good.step')), /is not named bad\.<kebab-name>/],
    ['has a step in no phase', (ctx) => ctx.step({ ...step('bad.step'), phase: 'later' as never }), /unknown phase later/],
    ['has two steps of one name', (ctx) => { ctx.step(step('bad.step')); ctx.step(step('bad.step')); }, /bad\.step is registered by bad already/],
    ['throws what is no error', () => { throw 'text' as unknown as Error; }, /^failed: text$/],
  ])('that %s is failed', async (_, setup, reason) => {
    const host = await boot([plugin('bad', { setup, optional: [Source] }), plugin('good')], { coreMethods: ['vm.taken'] });
    expect(statesOf(host)['bad']).toMatch(reason);
    expect(statesOf(host)['good']).toBe('active');
  });

  test('whose provider is disabled says so', async () => {
    const host = await boot([provider('writer'), consumer('leaf')], { config: '[plugins]\ndisabled = ["writer"]\n' });
    expect(statesOf(host)).toEqual({ writer: 'disabled', leaf: 'skipped: needs words@1; plugin writer provides it but is disabled' });
  });
});

describe('the daemon does not start', () => {
  test('when a required plugin fails, and ends what was set up', async () => {
    const ended: string[] = [];
    const first = plugin('first', { setup: (ctx) => ctx.onDispose(() => void ended.push('first')) });
    const later = plugin('later', { setup: () => void ended.push('never') });
    const bad = plugin('must', { setup: () => { throw new Error('no tool'); } });
    await expect(boot([first, bad, later], { config: '[plugins]\nrequired = ["must"]\n' }))
      .rejects.toMatchObject({ code: 'plugin_failed', message: 'Required plugin must failed: no tool' });
    expect(ended).toEqual(['first']);
    await expect(boot([consumer('leaf')], { config: '[plugins]\nrequired = ["leaf"]\n' }))
      .rejects.toMatchObject({ code: 'plugin_failed', message: expect.stringContaining('leaf cannot run: needs words@1') as string });
  });

  test('when the file has problems, and lists those of core and of all plugins', async () => {
    const strict = z.strictObject({ accelerator: z.enum(['kvm', 'tcg']).default('kvm'), size: z.number().default(1) });
    const config = `
      log_level = "loud"
      [plugins]
      disabled = ["qemuu"]
      required = ["nothing"]
      [plugins.one]
      acelerator = "kvm"
      size = "big"
      [plugins.two]
      x = 1
      [plugins.qemo]
    `;
    const failure = await boot([plugin('one', { config: strict }), plugin('two'), plugin('qemu')], { config }).catch((error: unknown) => error);
    expect(failure).toMatchObject({ code: 'config_invalid' });
    const issues = (failure as { detail: { issues: { path: string; message: string }[] } }).detail.issues;
    expect(Object.fromEntries(issues.map((issue) => [issue.path, issue.message]))).toMatchObject({
      'log_level': expect.any(String) as string,
      'plugins.disabled.0': 'unknown plugin qemuu (did you mean "qemu"?)',
      'plugins.required.0': 'unknown plugin nothing',
      'plugins.one.acelerator': 'unknown key (did you mean "accelerator"?)',
      'plugins.one.size': expect.any(String) as string,
      'plugins.two.x': 'unknown key',
      'plugins.qemo': 'unknown plugin (did you mean "qemu"?)',
    });
    expect(issues).toHaveLength(7);
  });

  test.each<[string, AnyPlugin[], RegExp]>([
    ['two have one name', [plugin('a'), plugin('a')], /name a is taken/],
    ['two provide one slot', [provider('a'), provider('b')], /plugin a and plugin b both provide words@1/],
    ['they need each other', [provider('a', { requires: [Host2] }), plugin('b', { requires: [Words], provides: [Host2] })], /a → b → a/],
    ['one is of another API version', [plugin('a', { apiVersion: 2 as never })], /API version 2/],
    ['a name is no label', [plugin('A_b')], /A_b/],
    ['a section has a key without default', [plugin('a', { spec: { schema: z.strictObject({ x: z.string() }), flags: [] } })], /needs a default/],
    ['a flag is taken', [plugin('a', { spec: { schema: z.strictObject({}), flags: [{ name: 'name', key: 'x', type: 'string', summary: '', verbs: ['run'] }] } })], /flag --name belongs to core/],
  ])('when of the built-ins %s', async (_, builtins, message) => {
    await expect(boot(builtins, { reservedFlags: ['name'] })).rejects.toMatchObject({ code: 'internal', message: expect.stringMatching(message) as string });
  });
});

test('gives a plugin its parsed and frozen section, and its values to doctor', async () => {
  let config: { list: string[]; deep: { n: number } } | undefined;
  const schema = z.strictObject({ list: z.array(z.string()).default(['a']), deep: z.strictObject({ n: z.number().default(1) }).prefault({}) });
  const host = await boot([plugin('p', { config: schema, setup: (ctx) => { config = ctx.config as never; } })], { config: '[plugins.p.deep]\nn = 5\n' });
  expect(config).toEqual({ list: ['a'], deep: { n: 5 } });
  expect(() => config?.list.push('b')).toThrow(TypeError);
  expect(() => { if (config) config.deep.n = 6; }).toThrow(TypeError);
  expect(host.configValues.get('plugins.p.deep.n')).toEqual({ value: 5, source: 'file' });
  expect(host.configValues.get('plugins.p.list')).toEqual({ value: ['a'], source: 'default' });
  expect(host.configValues.get('daemon.idle_exit_minutes')?.source).toBe('default');
});
