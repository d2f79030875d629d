// The build stamp: embedded in the CLI bundle, read from dist/build-stamp.json by the daemon, `dev` when nothing was built.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { packageRoot, packageVersion } from './paths.ts';

export interface BuildInfo {
  /** Version of the package. */
  readonly version: string;
  /** Git commit, 40 hex digits, with `-dirty` when the tree had changes; absent outside a repository. */
  readonly commit?: string;
  /** RFC 3339; absent when nothing was built. */
  readonly builtAt?: string;
  /** `<UTC time of the build>-<hash of the sources>`, such as `20261122T001956Z-3f2a...`; `dev` when nothing was built. */
  readonly build: string;
}

/** Replaced by the bundler; undeclared when the sources run as they are. */
declare const __BANGER_BUILD__: BuildInfo | undefined;

let info: BuildInfo | undefined;

/** What this process was built from. Never throws for a missing or unreadable stamp: then the build is `dev`. */
export function buildInfo(): BuildInfo {
  info ??= typeof __BANGER_BUILD__ === 'undefined' ? readStamp() : __BANGER_BUILD__;
  return info;
}

function readStamp(): BuildInfo {
  try {
    const stamp = JSON.parse(readFileSync(join(packageRoot(), 'dist', 'build-stamp.json'), 'utf8')) as Partial<BuildInfo>;
    if (typeof stamp.build === 'string' && typeof stamp.version === 'string') return stamp as BuildInfo;
  } catch {
    // Not built yet, or half written: the sources run as they are.
  }
  return { version: packageVersion(), build: 'dev' };
}

/** Whether `mine` was built after `theirs`: by version, then by time of build; the same sources are never newer. */
export function isNewerBuild(mine: Pick<BuildInfo, 'version' | 'build'>, theirs: Pick<BuildInfo, 'version' | 'build'>): boolean {
  const order = compareVersions(mine.version, theirs.version);
  if (order !== 0) return order > 0;
  if (sourcesOf(mine.build) === sourcesOf(theirs.build)) return false;
  return mine.build > theirs.build; // the time comes first and has one width
}

const sourcesOf = (build: string): string => build.slice(build.indexOf('-') + 1);

function compareVersions(a: string, b: string): number {
  const numbers = (text: string): number[] => text.split(/[-+]/, 1)[0]!.split('.').map(Number);
  const [left, right] = [numbers(a), numbers(b)];
  for (let i = 0; i < 3; i += 1) {
    const difference = (left[i] ?? 0) - (right[i] ?? 0);
    if (difference !== 0 && !Number.isNaN(difference)) return difference;
  }
  return 0;
}
