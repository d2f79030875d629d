// A repository's effective configuration, read in one call.
import type { Git } from './git.ts';
import { fromBytes, splitNul } from './bytes.ts';

export interface GitConfig {
  /** The value that counts (the last one); undefined when unset or not UTF-8. Key: lower case but for the middle part. An entry without a value is `true`. */
  get(key: string): string | undefined;
  /** As git reads a truth value; undefined when unset. */
  flag(key: string): boolean | undefined;
  /** Keys that are set and fit, latin1. */
  keys(pattern: RegExp): readonly string[];
}

/** Configuration of all scopes that apply in the repository. */
export async function readConfig(git: Git): Promise<GitConfig> {
  const { stdout } = await git.run(['config', '--list', '-z', '--includes']);
  const values = new Map<string, string>();
  for (const entry of splitNul(stdout)) {
    const end = entry.indexOf('\n');
    values.set(end < 0 ? entry : entry.slice(0, end), end < 0 ? 'true' : entry.slice(end + 1));
  }
  const get = (key: string): string | undefined => {
    const value = values.get(key);
    return value === undefined ? undefined : fromBytes(value);
  };
  return {
    get,
    keys: (pattern) => [...values.keys()].filter((key) => pattern.test(key)),
    flag(key) {
      const value = get(key)?.toLowerCase();
      if (value === undefined) return undefined;
      return value === 'true' || value === 'yes' || value === 'on' || (/^[+-]?\d+[kmg]?$/.test(value) && !/^[+-]?0+[kmg]?$/.test(value));
    },
  };
}
