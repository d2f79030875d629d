// Makes foreign modules find the daemon's own `banger/plugin` and zod, wherever they lie: a schema or an error made by another copy
// would not be recognised, and a plugin outside node_modules would not find them at all.
import { existsSync, readFileSync, statSync } from 'node:fs';
import { registerHooks } from 'node:module';
import { basename, dirname, extname, join, relative } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

/** From source this file is TypeScript, in the package JavaScript; its neighbours likewise. */
const pluginApiUrl = new URL(`../plugin-api${extname(import.meta.url)}`, import.meta.url).href;
const loadScheme = 'banger-load:';
const roots = new Set<string>();
let registered = false;

interface Wanted { readonly specifier: string; readonly parentURL: string }

/** Imports a module by path or package name as if from a file in `base`, as Node resolves it. */
export async function importForeign(name: string, base: string): Promise<unknown> {
  registerResolver();
  const wanted: Wanted = { specifier: specifierOf(name, base), parentURL: pathToFileURL(join(base, 'config.toml')).href };
  const url = import.meta.resolve(`${loadScheme}${encodeURIComponent(JSON.stringify(wanted))}`);
  if (!url.startsWith('file:')) throw new Error(`${name} is not a file`);
  roots.add(rootOf(fileURLToPath(url)));
  return import(url);
}

function registerResolver(): void {
  if (registered) return;
  registered = true;
  registerHooks({
    resolve(specifier, context, nextResolve) {
      if (specifier.startsWith(loadScheme)) {
        const wanted = JSON.parse(decodeURIComponent(specifier.slice(loadScheme.length))) as Wanted;
        return nextResolve(wanted.specifier, { ...context, parentURL: wanted.parentURL });
      }
      if (specifier === 'banger/plugin') return { url: pluginApiUrl, shortCircuit: true };
      const isZod = specifier === 'zod' || specifier.startsWith('zod/');
      if (isZod && isForeign(context.parentURL)) return nextResolve(specifier, { ...context, parentURL: import.meta.url });
      return nextResolve(specifier, context);
    },
  });
}

/** A file of a plugin itself. Packages that it brings along keep the zod they were written for. */
function isForeign(parentURL: string | undefined): boolean {
  if (!parentURL?.startsWith('file:')) return false;
  const file = fileURLToPath(parentURL);
  return [...roots].some((root) => {
    const rel = relative(root, file);
    return !rel.startsWith('..') && !rel.split('/').includes('node_modules');
  });
}

/** The nearest directory with a package.json, or the file's own. */
function rootOf(file: string): string {
  for (let dir = dirname(file); basename(dir) !== 'node_modules'; dir = dirname(dir)) {
    if (existsSync(join(dir, 'package.json'))) return dir;
    if (dirname(dir) === dir) break;
  }
  return dirname(file);
}

/** Whether the configuration names a file rather than a package. */
export const isPath = (name: string): boolean => /^(\.{0,2}\/|\.{1,2}$)/.test(name);

function specifierOf(name: string, base: string): string {
  if (!isPath(name)) return name;
  const path = name.startsWith('/') ? name : join(base, name);
  const isDirectory = statSync(path, { throwIfNoEntry: false })?.isDirectory() ?? false;
  return pathToFileURL(isDirectory ? entryOf(path) : path).href;
}

/** ESM imports no directories, but a plugin is one: its package.json's `main`, or a file of a usual name. */
function entryOf(dir: string): string {
  const manifest = join(dir, 'package.json');
  const main = existsSync(manifest) ? (JSON.parse(readFileSync(manifest, 'utf8')) as { main?: unknown }).main : undefined;
  const names = typeof main === 'string' ? [main] : ['plugin.js', 'plugin.ts', 'index.js', 'index.ts'];
  const file = names.map((name) => join(dir, name)).find((candidate) => existsSync(candidate));
  if (file === undefined) throw new Error(`directory ${dir} has none of ${names.join(', ')}`);
  return file;
}
