import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { fromRange } from './bootstrap-pins.ts';
import { planBootstrap, shown } from './bootstrap-plan.ts';
import type { BootstrapPlan } from './bootstrap-plan.ts';

let root: string;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'banger-bootstrap-'));
});
afterEach(() => {
  rmSync(root, { recursive: true });
});
const plan = (files: Readonly<Record<string, string>>): Promise<BootstrapPlan | undefined> => {
  for (const [file, text] of Object.entries(files)) {
    mkdirSync(dirname(join(root, file)), { recursive: true });
    writeFileSync(join(root, file), text);
  }
  return planBootstrap(root, Object.keys(files));
};
const pins = async (files: Readonly<Record<string, string>>): Promise<string[]> => (await plan(files))?.tools.map(({ name, version, from }) => `${name}@${version} ${from}`) ?? [];
const container = async (text: string): Promise<BootstrapPlan | undefined> => plan({ '.devcontainer/devcontainer.json': text });

describe('versions', () => {
  test.each([
    ['go.mod', 'module x // go 1.1\n\ngo 1.22\n', 'go@1.22'],
    ['go.mod', 'module x\r\ngo 1.22.1\r\ntoolchain go1.23.4\r\n', 'go@1.23.4'],
    ['go.mod', 'go 1.21 // at least\ntoolchain default\nrequire x v1\n', 'go@1.21'],
    ['.nvmrc', '# ours\n v20.11.0 \n', 'node@20.11.0'],
    ['.nvmrc', 'lts/*', 'node@lts'],
    ['.nvmrc', 'lts/iron', 'node@lts/iron'],
    ['.nvmrc', 'node', 'node@latest'],
    ['.node-version', '22', 'node@22'],
    ['package.json', '{"volta": {"node": "18.1.2"}, "engines": {"node": ">=16"}}', 'node@18.1.2'],
    ['package.json', '{"engines": {"node": "^18 || >=20.3.1"}}', 'node@20'],
    ['.python-version', '# pyenv\n3.12.1\n3.11\n', 'python@3.12.1'],
    ['.python-version', 'my-environment\npypy3.10-7.3.12\n', 'python@pypy3.10-7.3.12'],
    ['rust-toolchain', '1.75.0\n', 'rust@1.75.0'],
    ['rust-toolchain', '[toolchain]\nchannel = "nightly-2024-01-01"\n', 'rust@nightly-2024-01-01'],
    ['rust-toolchain.toml', "[toolchain] # pinned\ncomponents = ['clippy']\nchannel = 'stable'\n", 'rust@stable'],
  ])('%s: %j is %s', async (file, text, wanted) => {
    expect(await pins({ [file]: text })).toEqual([`${wanted} ${file}`]);
  });

  test.each([
    ['.nvmrc', 'system'], ['.nvmrc', '\n# nothing\n'], ['package.json', '{"engines": {"node": "*"}}'], ['package.json', '{"engines": ["node"]}'], ['package.json', 'not json'],
    ['package.json', '{"engines": {"node": "<21"}}'], ['.python-version', 'system'], ['rust-toolchain.toml', '[toolchain]\npath = "/x"\n'], ['go.mod', 'module go\n'],
  ])('%s: %j pins nothing', async (file, text) => {
    expect(await plan({ [file]: text })).toBeUndefined();
  });

  test.each([['20', '20'], ['v20.1.2', '20.1.2'], ['20.x', '20'], ['^20.1.0', '20'], ['~20.1.2', '20.1'], ['>=18 <21', '18'], ['>= 18', '18'], ['x', undefined], ['<=20', undefined], ['', undefined]])('the range %j is %s', (range, wanted) => {
    expect(fromRange(range)).toBe(wanted);
  });

  test('the first file of a tool counts, each tool once, in order', async () => {
    expect(await pins({ '.nvmrc': 'lts/*', '.node-version': '18', 'package.json': '{"volta": {"node": "16"}}', 'go.mod': 'go 1.2\n', '.python-version': '3.9' }))
      .toEqual(['go@1.2 go.mod', 'node@lts .nvmrc', 'python@3.9 .python-version']);
    expect(await pins({ '.nvmrc': 'system', '.node-version': '18' })).toEqual(['node@18 .node-version']);
  });

  test.each(['20; touch /tmp/x', "20'$(id)'", '$(id)', '`id`', '-g', '--yes', '20\u001B[31m', '1/../../x y', 'a'.repeat(70)])('%j is no version and is not handed on', async (text) => {
    const found = await plan({ '.nvmrc': text, 'go.mod': 'go 1.20\n' });
    expect(found?.tools.filter(({ version }) => version.includes('..') || !/^[\w./+-]+$/.test(version) || version.startsWith('-') || version.length > 64)).toEqual([]);
    expect(found?.summary.join('')).not.toContain('\u001B');
  });
  test('one that is not handed on is told', async () => {
    expect((await plan({ '.nvmrc': '$(id)', 'go.mod': 'go 1.20\n' }))?.summary).toEqual(['mise installs go 1.20 (go.mod)', 'the version in .nvmrc is none that mise takes: $(id)']);
  });

  test('a pin alone makes no need of a network', async () => {
    expect(await plan({ 'go.mod': 'go 1.20\n' })).toMatchObject({ mise: false, needsNetwork: false, files: [] });
  });
});

describe('files of mise', () => {
  test.each(['mise.toml', '.mise.toml', '.tool-versions', '.config/mise/config.toml'])('%s is enough, and needs a network', async (file) => {
    expect(await plan({ [file]: '' })).toEqual({ tools: [], mise: true, needsNetwork: true, files: [file], summary: [`mise installs what ${file} names`] });
  });
  test.each([
    ['.tool-versions', '# asdf\nnodejs 20.1.0 system\ngolang 1.22\n'],
    ['mise.toml', '[env]\npython = "x"\n[tools] # ours\nnode = "20"\n"core:go" = ["1.22", "1.21"]\n'],
    ['.mise.toml', 'tools.node = "20"\n[tools.go]\nversion = "1.22"\n'],
  ])('what %s names is left to it', async (file, text) => {
    expect(await pins({ [file]: text, 'go.mod': 'go 1.1\n', '.nvmrc': '18', '.python-version': '3.9' })).toEqual(['python@3.9 .python-version']);
  });
});

describe('a dev container', () => {
  test.each([['"npm ci"', 'npm ci'], ['["npm", "ci"]', ['npm', 'ci']], ['{"a": "x", "b": ["y", "z"],}', { a: 'x', b: ['y', 'z'] }]])('postCreateCommand may be %s', async (json, wanted) => {
    const found = await container(`// ours\n{"image": "x", /* later */ "postCreateCommand": ${json},}\n`);
    expect(found).toMatchObject({ postCreate: wanted, needsNetwork: true, mise: false, files: ['.devcontainer/devcontainer.json'] });
    expect(found?.summary).toHaveLength(1);
  });
  test.each(['3', '[]', '["a", 1]', '{"a": {"b": "c"}}', '{}', '"a\\u0000b"', JSON.stringify('x'.repeat(40_000))])('%.20s is left out and told', async (json) => {
    const found = await container(`{"postCreateCommand": ${json}}`);
    expect(found?.postCreate).toBeUndefined();
    expect(found).toMatchObject({ needsNetwork: false, summary: ['postCreateCommand of .devcontainer/devcontainer.json is none that can be run: it is left out'] });
  });
  test('broken JSON is told, none and an empty one are nothing', async () => {
    expect((await container('{'))?.summary).toEqual(['.devcontainer/devcontainer.json is not JSON: nothing of it is done']);
    expect(await container('{"image": "x"}')).toBeUndefined();
    expect(await container('{"postCreateCommand": ""}')).toBeUndefined();
    expect(await container('7')).toBeUndefined();
    expect(await container(`${'['.repeat(200_000)}`)).toMatchObject({ needsNetwork: false });
  });
  test('the folder\'s file comes before the one at the top', async () => {
    expect((await plan({ '.devcontainer.json': '{"postCreateCommand": "top"}', '.devcontainer/devcontainer.json': '{"postCreateCommand": "folder"}' }))?.postCreate).toBe('folder');
    expect((await planBootstrap(root, ['.devcontainer.json']))?.postCreate).toBe('top');
  });
});

test('only what goes into the guest is read, and only regular files of at most 1 MiB', async () => {
  writeFileSync(join(root, '.nvmrc'), '20');
  expect(await planBootstrap(root, ['other', '.node-version'])).toBeUndefined();
  mkdirSync(join(root, '.node-version'));
  symlinkSync('.nvmrc', join(root, '.python-version'));
  execFileSync('mkfifo', [join(root, 'go.mod')]);
  writeFileSync(join(root, 'rust-toolchain'), `1.75.0\n#${'x'.repeat(1024 * 1024)}\n`);
  expect(await planBootstrap(root, ['.node-version', '.python-version', 'go.mod', 'rust-toolchain'])).toBeUndefined();
});

test('what is shown stays on one line', () => {
  expect(shown('a\nb\u001B[31m\u202Ec')).toBe('a\\x0ab\\x1b[31m?c');
  expect(shown('x'.repeat(500))).toHaveLength(200);
});
