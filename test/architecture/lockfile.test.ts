// `npm ci` refuses a lockfile in which any dependency of any package, also an optional one for another platform, has no entry. A registry
// that does not carry a foreign platform's package leaves such a hole when the lockfile is written.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { repoRoot } from '../support/source-tree.ts';

interface Entry {
  readonly version?: string;
  readonly dev?: boolean;
  readonly optional?: boolean;
  readonly integrity?: string;
  readonly resolved?: string;
  readonly os?: readonly string[];
  readonly cpu?: readonly string[];
  readonly libc?: readonly string[];
  readonly hasInstallScript?: boolean;
  readonly dependencies?: Readonly<Record<string, string>>;
  readonly devDependencies?: Readonly<Record<string, string>>;
  readonly optionalDependencies?: Readonly<Record<string, string>>;
}

const packages = (JSON.parse(readFileSync(join(repoRoot, 'package-lock.json'), 'utf8')) as { readonly packages: Readonly<Record<string, Entry>> }).packages;
const manifest = JSON.parse(readFileSync(join(repoRoot, 'package.json'), 'utf8')) as Entry;

/** As Node looks modules up: beside the package, then in each folder above. */
function finds(from: string, name: string): boolean {
  for (let at = from; ; at = at.slice(0, Math.max(0, at.lastIndexOf('node_modules/') - 1))) {
    if (packages[`${at === '' ? '' : `${at}/`}node_modules/${name}`] !== undefined) return true;
    if (at === '') return false;
  }
}

test('every dependency has an entry', () => {
  const missing = Object.entries(packages).flatMap(([path, entry]) =>
    Object.keys({ ...entry.dependencies, ...entry.devDependencies, ...entry.optionalDependencies }).filter((name) => !finds(path, name)).map((name) => `${path}: ${name}`));
  expect(missing).toEqual([]);
});

test('it holds what package.json asks for, in exact versions', () => {
  expect(packages['']?.dependencies).toEqual(manifest.dependencies);
  expect(packages['']?.devDependencies).toEqual(manifest.devDependencies);
  const asked = Object.entries({ ...manifest.dependencies, ...manifest.devDependencies });
  expect(asked.filter(([name, version]) => packages[`node_modules/${name}`]?.version !== version)).toEqual([]);
});

test('what is installed on x86_64 Linux with glibc has a hash, and no entry names a host to fetch from', () => {
  const entries = Object.entries(packages).filter(([path]) => path !== '');
  const fits = (list: readonly string[] | undefined, value: string): boolean => list === undefined || list.includes(value);
  const ours = entries.filter(([, entry]) => fits(entry.os, 'linux') && fits(entry.cpu, 'x64') && fits(entry.libc, 'glibc'));
  expect(ours.length).toBeGreaterThan(50);
  expect(ours.filter(([, entry]) => entry.integrity === undefined).map(([path]) => path)).toEqual([]);
  expect(entries.filter(([, entry]) => entry.resolved !== undefined).map(([path]) => path)).toEqual([]);
});
