// Bundles the CLI into dist/cli and writes the build stamp. Run after tsc: `node scripts/bundle-cli.ts`.
//
// Two CommonJS files: `main.cjs` answers `version` alone, `process-main.cjs` is the rest. Measured against `node -e 0`: CommonJS costs nothing,
// an ES module entry 11 %, a start-up snapshot 29 %; node:net and node:tty cost about 10 % and are loaded when they are used.
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdirSync, readdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { createRequire, isBuiltin } from 'node:module';
import { join, relative, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build, type Plugin } from 'esbuild';
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

/** Node's own modules are required when one of their names is first used, not when the bundle loads. */
const lazyBuiltins: Plugin = {
  name: 'lazy-builtins',
  setup(bundler) {
    bundler.onResolve({ filter: /^node:/ }, ({ path, namespace }) =>
      (namespace === 'lazy' || !isBuiltin(path) || path === 'node:fs' ? { path, external: true } : { path, namespace: 'lazy' }));
    bundler.onLoad({ filter: /.*/, namespace: 'lazy' }, ({ path }) => {
      const names = Object.keys(require(path) as object).filter((name) => /^[A-Za-z]\w*$/.test(name));
      const lines = [
        `for (const name of ${JSON.stringify(names)}) Object.defineProperty(exports, name, { enumerable: true, get: () => require(${JSON.stringify(path)})[name] });`,
      ];
      return { contents: lines.join('\n'), loader: 'js' };
    });
  },
};

/** The rest of the CLI stays a file of its own beside the entry. */
const splitMain: Plugin = {
  name: 'split-main',
  setup(bundler) {
    bundler.onResolve({ filter: /^\.\/process-main\.ts$/ }, () => ({ path: './process-main.cjs', external: true }));
  },
};

function writeAtOnce(file: string, text: string | Uint8Array): void {
  writeFileSync(`${file}.new`, text);
  renameSync(`${file}.new`, file);
}

async function bundle(entry: string, stamp: BuildInfo): Promise<void> {
  const result = await build({
    entryPoints: [join(root, 'cli', `${entry}.ts`)], outfile: join(dist, 'cli', `${entry}.cjs`),
    bundle: true, write: false, format: 'cjs', platform: 'node', target: 'node24', minify: true, legalComments: 'none', charset: 'utf8',
    define: { 'import.meta.dirname': '__dirname', __BANGER_BUILD__: JSON.stringify(stamp) },
    plugins: [lazyBuiltins, ...(entry === 'main' ? [splitMain] : [])],
    logLevel: 'warning',
  });
  for (const file of result.outputFiles) writeAtOnce(file.path, file.contents);
}

const stamp = makeStamp();
mkdirSync(join(dist, 'cli'), { recursive: true });
await bundle('main', stamp);
await bundle('process-main', stamp);
writeAtOnce(join(dist, 'build-stamp.json'), `${JSON.stringify(stamp, undefined, 2)}\n`);
