// Filters of git attributes (`git lfs` and the like): programs of the host, which may not even be there.
import type { GitConfig } from './git-config.ts';

export interface Filters {
  /** Whether any is configured: a file on disk may then differ from what git has of it, and only its stamp says that it does not. */
  readonly any: boolean;
  /** A filter that fails, or whose program is missing, changes nothing. */
  readonly lenient: readonly string[];
  /** No filter runs: what has changed is taken as it is on disk. */
  readonly off: readonly string[];
}

export function readFilters(config: GitConfig): Filters {
  const names = new Set(config.keys(/^filter\..*\.(clean|smudge|process|required)$/s).map((key) => key.slice('filter.'.length, key.lastIndexOf('.'))));
  // `-c` divides at the first `=`, and arguments are UTF-8: names beyond that are left alone.
  const usable = [...names].filter((name) => /^[^=\n\0\u0080-\uffff]+$/.test(name));
  const settings = (key: string, value: string): string[] => usable.flatMap((name) => ['-c', `filter.${name}.${key}=${value}`]);
  const lenient = settings('required', 'false');
  return { any: names.size > 0, lenient, off: [...lenient, ...['clean', 'smudge', 'process'].flatMap((key) => settings(key, ''))] };
}
