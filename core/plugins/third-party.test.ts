// Real modules in real directories, in a Node process of their own: module hooks are process-wide and the test runner has its own loader.
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { PluginStatus } from '../plugin-api.ts';
import { createExec } from '../exec.ts';

let dir: string;
beforeEach(() => { dir = mkdtempSync(join(tmpdir(), 'banger-third-')); });
afterEach(() => rmSync(dir, { recursive: true }));

interface Booted {
  readonly statuses: PluginStatus[];
  readonly methods: string[];
  readonly greeting?: string;
  readonly error?: { readonly code: string; readonly message: string };
}

function write(file: string, text: string): void {
  mkdirSync(dirname(join(dir, file)), { recursive: true });
  writeFileSync(join(dir, file), text);
}

/** Boots the host with `config.toml` and one built-in, `base`, which provides a capability. */
async function boot(config: string): Promise<Booted> {
  write('etc/config.toml', config);
  write('boot.ts', `
    import { z } from ${JSON.stringify(import.meta.resolve('zod'))};
    import { bootPlugins } from ${JSON.stringify(new URL('host.ts', import.meta.url).href)};
    import { loadConfig } from ${JSON.stringify(new URL('../config/load.ts', import.meta.url).href)};
    import { nullLog } from ${JSON.stringify(new URL('../log.ts', import.meta.url).href)};
    import { resolvePaths } from ${JSON.stringify(new URL('../paths.ts', import.meta.url).href)};
    import { capability } from ${JSON.stringify(new URL('../plugin-api.ts', import.meta.url).href)};
    const Base = capability('base@1');
    const base = { name: 'base', version: '1.0.0', apiVersion: 1, summary: 'Base.', config: z.strictObject({}), provides: [Base], setup: (ctx) => ctx.provide(Base, { zod: z }) };
    const options = { builtins: [base], core: [], log: nullLog, paths: resolvePaths({}), cwd: ${JSON.stringify(join(dir, 'cwd'))}, createJobRunner: () => undefined, reservedFlags: ['name'] };
    const { methods, ...rest } = await bootPlugins({ ...options, config: loadConfig({ file: ${JSON.stringify(join(dir, 'etc/config.toml'))}, env: {} }) }).then(async (host) => {
      const methods = host.registrations.methods;
      const greeting = await methods.find((m) => m.name === 'hello.greet')?.method.handler({}, {});
      await host.close();
      return { statuses: host.statuses(), methods: methods.map((m) => m.name), greeting: greeting?.text };
    }).catch((error) => ({ statuses: [], methods: [], error: { code: error.code, message: error.message } }));
    console.log(JSON.stringify({ methods, ...rest }));
  `);
  mkdirSync(join(dir, 'cwd'), { recursive: true });
  const { stdout } = await createExec().run(process.execPath, [join(dir, 'boot.ts')], { cwd: dir });
  return JSON.parse(stdout) as Booted;
}
const stateOf = (booted: Booted, name: string): string => {
  const status = booted.statuses.find((candidate) => candidate.name === name);
  return `${status?.state ?? 'absent'}${status?.reason === undefined ? '' : `: ${status.reason}`}`;
};

const hello = (body = '', types = false): string => `
  import { definePlugin, capability, BangerError${types ? ', type Json' : ''} } from 'banger/plugin';
  import { z } from 'zod';
  const Base = capability('base@1');
  export default definePlugin({
    name: 'hello', version: '2.0.0', apiVersion: 1, summary: 'Greets.', requires: [Base],
    config: z.strictObject({ greeting: z.string().default('hello') }),
    setup(ctx) {
      ${body}
      const same${types ? ': Json' : ''} = ctx.use(Base).zod === z;
      ctx.rpc('hello.greet', {
        summary: 'Greets.', effect: 'read', params: z.strictObject({}), result: z.strictObject({ text: z.string() }),
        handler: () => ({ text: ctx.config.greeting + ' ' + same + ' ' + new BangerError('busy', 'x').code }),
      });
    },
  });
`;

test('a TypeScript file beside the configuration, with the daemon\'s own zod', async () => {
  write('etc/my/hello.ts', hello('', true));
  const booted = await boot('[plugins]\nload = ["./my/hello.ts"]\n[plugins.hello]\ngreeting = "hi"\n');
  expect(stateOf(booted, 'hello')).toBe('active');
  expect(booted).toMatchObject({ methods: ['hello.greet'], greeting: 'hi true busy' });
  expect(booted.statuses[1]).toMatchObject({ source: join(dir, 'etc/my/hello.ts'), version: '2.0.0', methods: ['hello.greet'] });
});

test('a directory, from the working directory when the configuration has none', async () => {
  write('cwd/hello/package.json', '{"type": "module", "main": "lib/main.js"}');
  write('cwd/hello/lib/main.js', hello());
  expect(await boot('[plugins]\nload = ["./hello"]\n')).toMatchObject({ greeting: 'hello true busy' });
});

test('a package by name, whose own dependencies keep their zod', async () => {
  write('etc/node_modules/banger-hello/package.json', '{"name": "banger-hello", "type": "module", "exports": {"import": "./main.js"}}');
  write('etc/node_modules/banger-hello/main.js', `import { which } from 'helper';\n${hello('if (which !== "old zod") throw new Error(which);')}`);
  write('etc/node_modules/helper/package.json', '{"name": "helper", "type": "module", "main": "main.js"}');
  write('etc/node_modules/helper/main.js', 'export { which } from "zod";');
  write('etc/node_modules/zod/package.json', '{"name": "zod", "type": "module", "main": "main.js"}');
  write('etc/node_modules/zod/main.js', 'export const which = "old zod";');
  const booted = await boot('[plugins]\nload = ["banger-hello"]\n');
  expect(stateOf(booted, 'hello')).toBe('active');
  expect(booted.greeting).toBe('hello true busy');
});

test('its mistakes are its own: the daemon starts without it', async () => {
  write('etc/throws.js', 'throw new Error("at import");');
  write('etc/empty.js', 'export const x = 1;');
  write('etc/vm.js', hello().replace("'hello'", "'vm'"));
  write('etc/twin.js', hello().replace("'hello'", "'base'"));
  write('etc/old.js', hello().replace('apiVersion: 1', 'apiVersion: 0').replace("'hello'", "'old'"));
  write('etc/rival.js', hello().replace("'hello'", "'rival'").replace('requires', 'provides'));
  write('etc/flag.js', hello().replace("'hello'", "'flag'").replace('requires:', `spec: { schema: z.strictObject({}), flags: [{ name: 'name', key: 'x', type: 'string', summary: '', verbs: ['run'] }] }, requires:`));
  write('etc/method.js', hello().replace("'hello'", "'method'"));
  write('etc/hello.js', hello());
  const names = ['./throws.js', './empty.js', './vm.js', './twin.js', './old.js', './rival.js', './flag.js', './method.js', './nowhere.js', 'no-such-package', './hello.js'];
  const booted = await boot(`[plugins]\nload = ${JSON.stringify(names)}\n[plugins.unloadable]\nx = 1\n`);
  const states = Object.fromEntries(booted.statuses.map((status) => [`${status.name} ${status.source.replace(`${dir}/`, '')}`, `${status.state}: ${status.reason ?? ''}`]));
  expect(states).toEqual({
    'base builtin': 'active: ',
    './throws.js etc/throws.js': 'failed: it cannot be loaded: at import',
    './empty.js etc/empty.js': 'failed: it has no default export made by definePlugin',
    'vm etc/vm.js': 'failed: the name vm is reserved',
    'base etc/twin.js': 'failed: the name base is taken by the plugin from builtin',
    'old etc/old.js': 'failed: it is written for plugin API version 0; this banger has version 1',
    'rival etc/rival.js': 'failed: plugin base and plugin rival both provide base@1',
    'flag etc/flag.js': 'failed: flag --name belongs to core',
    'method etc/method.js': 'failed: method hello.greet is not named method.<verb>',
    './nowhere.js ./nowhere.js': `failed: no such file, looked for from ${dir}/etc and ${dir}/cwd`,
    'no-such-package no-such-package': expect.stringMatching(/^failed: it cannot be loaded: Cannot find package/) as string,
    'hello etc/hello.js': 'active: ',
  });
});

test('a bad section fails that plugin alone, unless it is required', async () => {
  write('etc/hello.js', hello());
  const section = '[plugins.hello]\ngreting = "x"\n';
  const booted = await boot(`[plugins]\nload = ["./hello.js"]\n${section}`);
  expect(stateOf(booted, 'hello')).toBe('failed: its configuration is wrong: plugins.hello.greting: unknown key (did you mean "greeting"?)');
  expect(stateOf(booted, 'base')).toBe('active');
  expect((await boot(`[plugins]\nload = ["./hello.js"]\nrequired = ["hello"]\n${section}`)).error).toMatchObject({ code: 'config_invalid' });
});
