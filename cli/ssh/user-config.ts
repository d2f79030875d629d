// The file ~/.ssh/config of a person: read, and replaced whole by a rename beside the real file, its mode, owner and links kept.
import {
  closeSync, fchmodSync, fchownSync, fsyncSync, lstatSync, mkdirSync, openSync, readFileSync, readlinkSync, renameSync, rmSync, statSync, writeFileSync,
} from 'node:fs';
import type { Stats } from 'node:fs';
import { homedir, userInfo } from 'node:os';
import { basename, dirname, isAbsolute, join, resolve } from 'node:path';
import { isBangerError, operationFailed } from '../../core/errors.ts';

type Env = Readonly<Record<string, string | undefined>>;

export interface UserConfig {
  /** `~/.ssh/config`, absolute. */
  readonly file: string;
  /** ssh itself reads another one: it goes by the list of users and not by HOME. The one it reads, then. */
  readonly fileOfSsh?: string;
}

export interface ListedUser { readonly uid: number; readonly homedir: string }

/** Our entry in the list of users. A uid without one, as in containers, has HOME only; ssh does not run for it. */
export function listedUser(lookUp: () => ListedUser = userInfo): ListedUser {
  try {
    return lookUp();
  } catch {
    return { uid: process.getuid?.() ?? 0, homedir: homedir() };
  }
}

/** HOME counts, but for root in another user's home (sudo may leave HOME): root's own home then. */
export function userConfig(env: Env, user: ListedUser = listedUser()): UserConfig {
  const wanted = env['HOME'];
  const isUsable = wanted !== undefined && isAbsolute(wanted) && !(user.uid === 0 && ownerOf(wanted) !== undefined && ownerOf(wanted) !== 0);
  const of = (home: string): string => join(home, '.ssh', 'config');
  const file = of(isUsable ? wanted : user.homedir);
  return resolve(file) === resolve(of(user.homedir)) ? { file } : { file, fileOfSsh: of(user.homedir) };
}

function ownerOf(path: string): number | undefined {
  return statSync(path, { throwIfNoEntry: false })?.uid;
}

/** Its bytes as latin1; `undefined` when there is none. @throws operation_failed when it is no file we can read */
export function readUserConfig(file: string): string | undefined {
  try {
    return readFileSync(file, 'latin1');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw operationFailed(`${file} cannot be read`, { cause: error });
  }
}

/** Writes the bytes, or removes the file. A link stays a link: what it leads to is written. @throws operation_failed; nothing has changed then */
export function replaceUserConfig(file: string, text: string | undefined): void {
  try {
    const target = followLinks(file);
    if (text === undefined) rmSync(target, { force: true });
    else writeBeside(target, text);
  } catch (error) {
    if (isBangerError(error)) throw error;
    throw operationFailed(`${file} cannot be changed: ${(error as Error).message}`, { cause: error, hint: 'banger ssh-config shows the line to put at its top by hand' });
  }
}

const maxLinks = 40;

/** Where the links end, also when nothing is there. */
function followLinks(file: string): string {
  let path = file;
  for (let i = 0; i < maxLinks; i += 1) {
    if (lstatSync(path, { throwIfNoEntry: false })?.isSymbolicLink() !== true) return path;
    path = resolve(dirname(path), readlinkSync(path));
  }
  throw operationFailed(`${file} is a link that leads in a circle`);
}

function writeBeside(target: string, text: string): void {
  const before = statSync(target, { throwIfNoEntry: false });
  if (before && !before.isFile()) throw operationFailed(`${target} is not a regular file`);
  const dir = dirname(target);
  mkdirSync(dir, { recursive: true, mode: 0o700 });
  const draft = join(dir, `.${basename(target)}.banger-${process.pid}`);
  try {
    writeDraft(draft, text, before);
    renameSync(draft, target);
  } catch (error) {
    rmSync(draft, { force: true });
    throw error;
  }
}

function writeDraft(draft: string, text: string, before: Stats | undefined): void {
  const fd = openSync(draft, 'wx', 0o600);
  try {
    writeFileSync(fd, text, 'latin1');
    if (before) {
      const own = statSync(draft);
      if (own.uid !== before.uid || own.gid !== before.gid) fchownSync(fd, before.uid, before.gid);
      // After the owner: changing that takes bits away.
      fchmodSync(fd, before.mode & 0o7777);
    }
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}
