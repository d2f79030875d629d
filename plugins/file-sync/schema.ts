import { homedir } from 'node:os';
import { posix } from 'node:path';
import { z } from 'zod';

/** Home of root in a guest: the work disk, where there is one. */
export const guestHome = '/root';

/** What is wrong with a path that begins with a home or at the root; undefined when nothing is. */
function pathProblem(path: string): string | undefined {
  if (path === '') return 'is empty';
  if (path.includes('\0')) return 'holds a NUL character';
  if (/^~[^/]/.test(path)) return 'names the home of another user; only ~/ is known';
  if (path !== '~' && !path.startsWith('~/') && !path.startsWith('/')) return 'is relative; begin it with ~/ or /';
  if (path.split('/').includes('..')) return 'must not hold ..';
  return undefined;
}

/** Absolute and without needless slashes. */
const expand = (path: string, home: string): string => {
  const full = posix.normalize(path === '~' || path.startsWith('~/') ? `${home}/${path.slice(1)}` : path);
  return full.length > 1 ? full.replace(/\/+$/, '') : full;
};

const isWithin = (path: string, dir: string): boolean => path === dir || path.startsWith(dir === '/' ? dir : `${dir}/`);

/** An absolute path of the host in the home of whoever runs the daemon. */
const hostPath = z.string().transform((path, ctx) => {
  const home = expand(homedir(), '/');
  const full = expand(path, home);
  const problem = pathProblem(path) ?? (isWithin(full, home) ? undefined : `lies outside of the home ${home}`);
  if (problem === undefined) return full;
  ctx.addIssue({ code: 'custom', message: problem });
  return z.NEVER;
});

/** A path below the home of root in the guest, relative to it. */
const guestPath = z.string().transform((path, ctx) => {
  const full = expand(path, guestHome);
  const inHome = isWithin(full, guestHome);
  const problem = pathProblem(path) ?? (!inHome ? `lies outside of ~/ (${guestHome}/)` : full === guestHome ? `names ${guestHome} itself, not something in it` : undefined);
  if (problem === undefined) return full.slice(guestHome.length + 1);
  ctx.addIssue({ code: 'custom', message: problem });
  return z.NEVER;
});

const mode = z.string().regex(/^0?[0-7]{3}$/, 'must be three octal digits, such as "0600"').transform((text) => Number.parseInt(text, 8));

export const syncEntry = z.strictObject({
  host: hostPath.describe('File or directory of the host: ~/..., or absolute, in the home of whoever runs the daemon. One that is missing is skipped with a warning.'),
  guest: guestPath.describe('Where it goes in the guest: below ~/, which is /root/. Directories above it are made.'),
  mode: mode.prefault('0600').describe('Mode of a file, octal; a directory brings the modes of its own files.'),
});

export const fileSyncConfig = z.strictObject({
  git_identity: z.boolean().default(false).describe("Write the host user's git user.name and user.email as ~/.gitconfig in guests that have no git configuration."),
  entries: z.array(syncEntry).max(256).default([]).describe('What is copied into every VM at each start.'),
});
export type FileSyncConfig = z.output<typeof fileSyncConfig>;
export type SyncEntry = z.output<typeof syncEntry>;
