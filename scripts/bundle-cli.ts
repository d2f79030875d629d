// Bundles the CLI into dist/cli and writes the build stamp. Run after tsc: `node scripts/bundle-cli.ts`.
//
// Three CommonJS files: `main.cjs` answers `version` alone, `workspace-host.cjs` is what runs git on this host, `process-main.cjs` is the rest.
// Measured against `node -e 0`: CommonJS costs nothing, an ES module entry 11 %, a start-up snapshot 29 %; node:net and node:tty cost about 10 %
// and are loaded when they are used.
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire, isBuiltin } from 'node:module';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join, relative, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Script } from 'node:vm';
import { build, type Plugin } from 'esbuild';
import { protocolVersion } from '../core/api.ts';
import type { BuildInfo } from '../core/build-info.ts';

const root = resolve(fileURLToPath(import.meta.url), '../..');
const dist = join(root, 'dist');
const require = createRequire(import.meta.url);

/** Files that make the product; tests and what tests need are not in it. */
function sourceFiles(): string[] {
  const rooms = ['bin', 'core', 'plugins', 'cli', 'native', 'guest'];
  const files = rooms.flatMap((room) => {
    try {
      return readdirSync(join(root, room), { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile()).map((entry) => relative(root, join(entry.parentPath, entry.name)));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
      throw error;
    }
  });
  return [...files.filter((file) => !/\.test(-d)?\.ts$/.test(file)), 'package.json'].sort();
}

function hashSources(): string {
  const hash = createHash('sha256');
  for (const file of sourceFiles()) hash.update(`${file}\0`).update(readFileSync(join(root, file))).update('\0');
  return hash.digest('hex').slice(0, 12);
}

function git(...args: string[]): string | undefined {
  try {
    return execFileSync('git', ['-C', root, ...args], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).trim();
  } catch {
    return undefined; // no git here, or no repository
  }
}

function makeStamp(): BuildInfo {
  const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { version: string };
  const epoch = process.env['SOURCE_DATE_EPOCH']; // reproducible-builds.org
  const builtAt = new Date(epoch === undefined ? Date.now() : Number(epoch) * 1000).toISOString();
  const commit = git('rev-parse', '--show-toplevel') === root ? git('rev-parse', 'HEAD') : undefined;
  const isDirty = commit !== undefined && git('status', '--porcelain', '--untracked-files=no') !== '';
  return {
    version, builtAt, build: `${builtAt.replaceAll(/[-:]|\.\d+/g, '')}-${hashSources()}`,
    ...(commit === undefined ? {} : { commit: isDirty ? `${commit}-dirty` : commit }),
  };
}

/** Loaded by Node itself before any program. */
const eager: ReadonlySet<string> = new Set(['node:fs', 'node:path', 'node:vm']);

/** Node's own modules are required when one of their names is first used, not when the bundle loads. */
const lazyBuiltins: Plugin = {
  name: 'lazy-builtins',
  setup(bundler) {
    bundler.onResolve({ filter: /^node:/ }, ({ path, namespace }) =>
      (namespace === 'lazy' || !isBuiltin(path) || eager.has(path) ? { path, external: true } : { path, namespace: 'lazy' }));
    bundler.onLoad({ filter: /.*/, namespace: 'lazy' }, ({ path }) => {
      const names = Object.keys(require(path) as object).filter((name) => /^[A-Za-z]\w*$/.test(name));
      const lines = [
        `for (const name of ${JSON.stringify(names)}) Object.defineProperty(exports, name, { enumerable: true, get: () => require(${JSON.stringify(path)})[name] });`,
      ];
      return { contents: lines.join('\n'), loader: 'js' };
    });
  },
};

/** Text around a bundle that makes it a module's function, the same when the cache is made and when it is used. */
const wrapper = ['(function (exports, require, module, __filename, __dirname) {', '\n})'] as const;

/**
 * The rest of the CLI stays a file of its own beside the entry, and comes with V8's code cache: compiling it took 10 ms of 45.
 * The cache bears the build in its name, because V8 compares no more than the length of the source with it.
 */
const splitMain = (stamp: BuildInfo): Plugin => ({
  name: 'split-main',
  setup(bundler) {
    bundler.onResolve({ filter: /^\.\/process-main\.ts$/ }, ({ path }) => ({ path, namespace: 'split' }));
    bundler.onLoad({ filter: /.*/, namespace: 'split' }, () => ({
      loader: 'js', resolveDir: root,
      contents: `
        const { readFileSync } = require('node:fs');
        const file = __dirname + '/process-main.cjs';
        let cachedData;
        try { cachedData = readFileSync(__dirname + '/process-main.${stamp.build}.cache'); } catch {} // only slower without
        globalThis.__BANGER_BUILD__ = ${JSON.stringify(stamp)};
        const script = new (require('node:vm').Script)(${JSON.stringify(wrapper[0])} + readFileSync(file, 'latin1') + ${JSON.stringify(wrapper[1])}, { filename: file, cachedData });
        script.runInThisContext()(exports, require, module, file, __dirname);
      `,
    }));
  },
});

/** What runs host programs is larger than the rest together, and few commands need it: a file of its own, loaded by its first `import()`. */
const splitHost: Plugin = {
  name: 'split-host',
  setup(bundler) {
    bundler.onResolve({ filter: /\/workspace\/host\.ts$|^\.\/host\.ts$/ }, ({ path, importer }) =>
      (resolve(importer, '..', path) === join(root, 'cli', 'workspace', 'host.ts') ? { path: './workspace-host.cjs', external: true } : undefined));
  },
};

function writeAtOnce(file: string, text: string | Uint8Array): void {
  writeFileSync(`${file}.new`, text);
  renameSync(`${file}.new`, file);
}

const entries = {
  main: { source: 'main.ts', plugins: (stamp: BuildInfo) => [splitMain(stamp), lazyBuiltins] },
  'process-main': { source: 'process-main.ts', plugins: () => [splitHost, lazyBuiltins] },
  // Its packages use Node's modules as a whole, which the lazy ones are not.
  'workspace-host': { source: 'workspace/host.ts', plugins: () => [] },
} satisfies Record<string, { source: string; plugins: (stamp: BuildInfo) => Plugin[] }>;

async function bundle(entry: keyof typeof entries, stamp: BuildInfo): Promise<void> {
  const { source, plugins } = entries[entry];
  const result = await build({
    entryPoints: [join(root, 'cli', source)], outfile: join(dist, 'cli', `${entry}.cjs`),
    bundle: true, write: false, format: 'cjs', platform: 'node', target: 'node24', minify: true, legalComments: 'none', charset: 'ascii',
    supported: { 'dynamic-import': false }, // require() instead: import() would load Node's ES module loader
    define: { 'import.meta.dirname': '__dirname', __BANGER_BUILD__: entry === 'main' ? JSON.stringify(stamp) : 'globalThis.__BANGER_BUILD__' },
    plugins: plugins(stamp),
    logLevel: 'warning',
  });
  for (const file of result.outputFiles) writeAtOnce(file.path, file.contents);
}

/** Runs `vm list` once, so that the cache holds what usual commands run, and no more. */
async function makeCodeCache(stamp: BuildInfo): Promise<void> {
  const file = join(dist, 'cli', 'process-main.cjs');
  const script = new Script(wrapper[0] + readFileSync(file, 'latin1') + wrapper[1], { filename: file });
  const loaded = { exports: {} as { run(words: readonly string[], io: object): Promise<number> } };
  (globalThis as { __BANGER_BUILD__?: BuildInfo }).__BANGER_BUILD__ = stamp;
  (script.runInThisContext() as (...args: unknown[]) => void)(loaded.exports, require, loaded, file, join(dist, 'cli'));
  const state = mkdtempSync(join(tmpdir(), 'banger-bundle-'));
  mkdirSync(join(state, 'banger'));
  const results: Readonly<Record<string, object>> = { 'rpc.hello': { protocol: protocolVersion, build: stamp.build, version: stamp.version, pid: 1, idle: true }, 'vm.list': { vms: [], columns: [] } };
  const server = createServer((socket) => socket.on('data', (chunk: Buffer) => {
    for (const line of chunk.toString().trim().split('\n')) {
      const { id, method } = JSON.parse(line) as { id: number; method: string };
      socket.write(`${JSON.stringify({ jsonrpc: '2.0', id, result: results[method] })}\n`);
    }
  }));
  try {
    await new Promise<void>((done) => server.listen(join(state, 'banger', 'bangerd.sock'), done));
    const io = { env: { XDG_STATE_HOME: state }, isTty: () => false, out: () => undefined, err: (text: string) => process.stderr.write(text) };
    if (await loaded.exports.run(['vm', 'list'], io) !== 0) throw new Error('the bundled vm list failed');
    for (const old of readdirSync(join(dist, 'cli')).filter((name) => name.endsWith('.cache'))) rmSync(join(dist, 'cli', old));
    writeAtOnce(join(dist, 'cli', `process-main.${stamp.build}.cache`), script.createCachedData());
  } finally {
    server.close();
    rmSync(state, { recursive: true });
  }
}

const stamp = makeStamp();
mkdirSync(join(dist, 'cli'), { recursive: true });
await bundle('main', stamp);
await bundle('process-main', stamp);
await bundle('workspace-host', stamp);
await makeCodeCache(stamp);
writeAtOnce(join(dist, 'build-stamp.json'), `${JSON.stringify(stamp, undefined, 2)}\n`);
