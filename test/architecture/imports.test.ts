// Which room may import what (ARCHITECTURE.md, "Rooms"). One way only: bin → {cli, plugins, core}, plugins → core's public files, cli → the RPC client.
import { expect, test } from 'vitest';
import { sourceFiles, type SourceFile, type SourceImport } from '../support/source-tree.ts';

const publicCore = new Set(['core/plugin-api.ts', 'core/errors.ts', 'core/capabilities.ts', 'core/model.ts', 'core/api.ts']);
/** What plugin-api.ts and api.ts re-export. */
const reexported = new Set(['core/api-watch.ts', 'core/paths.ts', 'core/lock.ts', 'core/guest-process.ts']);
const cliMayUse = new Set([...publicCore, 'core/rpc/client.ts', 'core/rpc/methods.ts', 'core/rpc/frames.ts', 'core/paths.ts', 'core/build-info.ts', 'core/names.ts']);
/** What the CLI does on the host without a daemon: through these files alone, and from here, which the bundle loads when it is needed. */
const hostSide: Readonly<Record<string, readonly string[]>> = {
  'cli/workspace/host.ts': ['core/exec.ts', 'plugins/workspace/shared.ts'],
  'cli/workspace/plan-text.ts': ['plugins/workspace/shared.ts'],
};
const owners: Record<string, RegExp> = {
  awilix: /^core\/container\.ts$/,
  execa: /^core\/exec\.ts$/,
  pino: /^core\/log\.ts$/,
  tapable: /^core\/lifecycle\/hooks\.ts$/,
  'better-sqlite3': /^core\/store\//,
  'json-rpc-2.0': /^core\/rpc\//,
  'smol-toml': /^core\/config\//,
  cac: /^cli\//,
  ssh2: /^plugins\/ssh\/ssh2-/,
  zod: /^(core|plugins)\//,
};

const isTest = (path: string): boolean => /\.test(-d)?\.ts$/.test(path) || path.includes('/testing/');
const product = sourceFiles().filter((file) => /^(core|plugins|cli|bin)\//.test(file.path) && !isTest(file.path));

function violations(files: readonly SourceFile[], bad: (file: SourceFile, imported: SourceImport) => boolean): string[] {
  return files.flatMap((file) => file.imports.filter((i) => bad(file, i)).map((i) => `${file.path} imports ${i.target}`));
}
const inRoom = (room: string): SourceFile[] => product.filter((file) => file.path.startsWith(`${room}/`));
const isRepoPath = (target: string): boolean => /^(core|plugins|cli|bin|test|smoke|native|guest|scripts|bench)\//.test(target);

test('core imports no other room', () => {
  expect(violations(inRoom('core'), (_, i) => isRepoPath(i.target) && !i.target.startsWith('core/'))).toEqual([]);
});

test("core's public files import only each other", () => {
  const files = product.filter((file) => publicCore.has(file.path));
  expect(files.length).toBe(publicCore.size);
  expect(violations(files, (_, i) => isRepoPath(i.target) && !publicCore.has(i.target) && !reexported.has(i.target))).toEqual([]);
});

test("a plugin imports core's public files, its own, and others' capability and schema", () => {
  expect(violations(inRoom('plugins').filter((f) => f.path !== 'plugins/index.ts'), (file, i) => {
    if (!isRepoPath(i.target)) return false;
    const own = file.path.split('/').slice(0, 2).join('/');
    if (i.target.startsWith(`${own}/`) || publicCore.has(i.target)) return false;
    return !/^plugins\/[^/]+\/(capability|schema)\.ts$/.test(i.target);
  })).toEqual([]);
});

test('the CLI imports the RPC client, shared types and paths, never the daemon', () => {
  const isShared = (file: SourceFile, i: SourceImport): boolean => cliMayUse.has(i.target) || hostSide[file.path]?.includes(i.target) === true
    || (i.isType && i.target === 'plugins/workspace/shared.ts');
  expect(violations(inRoom('cli'), (file, i) => isRepoPath(i.target) && !i.target.startsWith('cli/') && !isShared(file, i))).toEqual([]);
});

test('no product file imports tests', () => {
  expect(violations(product, (_, i) => /^(test|smoke|bench)\//.test(i.target))).toEqual([]);
});

test('each package has one importer', () => {
  expect(violations(product, (file, i) => {
    const owner = owners[i.target.split('/')[0]!];
    return owner !== undefined && !owner.test(file.path) && !i.isType;
  })).toEqual([]);
  for (const name of Object.keys(owners)) {
    expect(product.some((file) => file.imports.some((i) => i.target === name || i.target.startsWith(`${name}/`))), `${name} is used`).toBe(true);
  }
});

test('core names no plugin, VMM, network program or image format', () => {
  const words = /\b(qemu|firecracker|slirp4netns|qcow2?|mmdebstrap|nftables|debian)\b/i;
  const exempt = new Set(['core/model.ts', 'core/capabilities.ts']);
  const found = inRoom('core').filter((f) => !exempt.has(f.path)).flatMap((file) => file.text.split('\n')
    .flatMap((line, n) => (words.test(line) && !/^\s*(\/\/|\*|\/\*)/.test(line) ? [`${file.path}:${n + 1} ${line.trim()}`] : [])));
  expect(found).toEqual([]);
});
