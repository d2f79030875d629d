// Paths in the configuration that name files of the daemon's owner.
import { homedir } from 'node:os';
import { isAbsolute, join, normalize } from 'node:path';

/** Whether a configured path means one file wherever the daemon was started: absolute, or in the owner's home. */
export function isHostPath(path: string): boolean {
  return !path.includes('\0') && (isAbsolute(path) || (path.startsWith('~/') && path.length > 2));
}

/** The absolute path of one that `isHostPath` accepts. `HOME` counts; without it, the home in the system's list of users. */
export function expandHostPath(path: string, home: string = homedir()): string {
  return normalize(path.startsWith('~/') ? join(home, path.slice(2)) : path);
}
