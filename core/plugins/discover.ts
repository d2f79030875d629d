// Third-party plugins named in the configuration. Trust is explicit: only what is listed is loaded.
import { existsSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { withLimit } from '../dispose.ts';
import { definitionProblem } from './definition.ts';
import type { AnyPlugin } from './definition.ts';
import { importForeign, isPath } from './loader.ts';

/** `name`: as the configuration has it, when the definition is not known. */
export type Discovered =
  | { readonly source: string; readonly definition: AnyPlugin }
  | { readonly source: string; readonly name: string; readonly problem: string; readonly cause?: unknown };

export interface DiscoverOptions {
  /** Paths, or package names; looked for from the configuration file's directory, then from `cwd`. */
  readonly load: readonly string[];
  readonly configFile: string;
  readonly cwd: string;
  readonly limitMs: number;
}

/** Imports every listed plugin; one that cannot be loaded is a result, not an error. In the order of the list. */
export async function discoverPlugins(options: DiscoverOptions): Promise<Discovered[]> {
  const found: Discovered[] = [];
  for (const name of options.load) found.push(await discoverOne(name, options));
  return found;
}

async function discoverOne(name: string, options: DiscoverOptions): Promise<Discovered> {
  const bases = [...new Set([resolve(dirname(options.configFile)), options.cwd])];
  const path = isPath(name) ? bases.map((base) => resolve(base, name)).find((candidate) => existsSync(candidate)) : undefined;
  if (isPath(name) && path === undefined) return { source: name, name, problem: `no such file, looked for from ${bases.join(' and ')}` };
  const source = path ?? name;
  try {
    const module = await withLimit(() => importFrom(source, bases), { limitMs: options.limitMs, what: `the import of ${source}` });
    const definition = (module as { default?: unknown }).default;
    const problem = definitionProblem(definition, true);
    return problem === undefined ? { source, definition: definition as AnyPlugin } : { source, name: nameOf(definition) ?? name, problem };
  } catch (error) {
    return { source, name, problem: `it cannot be loaded: ${error instanceof Error ? error.message : String(error)}`, cause: error };
  }
}

/** A package is looked for from each directory; a module that was found and fails is not tried again. */
async function importFrom(source: string, bases: readonly string[]): Promise<unknown> {
  for (const [index, base] of bases.entries()) {
    try {
      return await importForeign(source, base);
    } catch (error) {
      const isMissing = (error as NodeJS.ErrnoException).code === 'ERR_MODULE_NOT_FOUND'
        && (error as Error).message.startsWith(`Cannot find package '${source}'`);
      if (!isMissing || index === bases.length - 1) throw error;
    }
  }
  return undefined;
}

function nameOf(definition: unknown): string | undefined {
  const name = (definition as { name?: unknown } | null | undefined)?.name;
  return typeof name === 'string' ? name : undefined;
}
