// Programs that write root file systems, run as root or as "root" of a user namespace, so that owners in an image are right
// without privileges.
import { chmod, mkdir, stat } from 'node:fs/promises';
import { missingRequirement, removeTree } from '../../core/plugin-api.ts';
import type { Exec, ExecOptions, ExecResult } from '../../core/plugin-api.ts';

export interface ImageTools {
  readonly exec: Exec;
  readonly isRoot: boolean;
  /** @throws missing_requirement naming the Debian package */
  require(program: string, debianPackage: string): Promise<void>;
  /** Runs a program that may make files of any owner. Files of uid 0 in there are ours out here. */
  runAsOwner(program: string, args: readonly string[], options: ExecOptions): Promise<ExecResult>;
  /** Removes a tree that may hold files of mapped uids. Safe to call again. */
  removeOwnedTree(path: string, within: string): Promise<void>;
}

/** Number of ids a mapping needs for a whole system is the caller's `/etc/subuid` range; see subuid(5). */
const inUserNamespace = ['--map-auto', '--map-root-user', '--'];

export function createImageTools(exec: Exec, uid: number): ImageTools {
  const isRoot = uid === 0;
  const runAsOwner: ImageTools['runAsOwner'] = (program, args, options) =>
    (isRoot ? exec.run(program, args, options) : exec.run('unshare', [...inUserNamespace, program, ...args], options));
  return {
    exec, isRoot, runAsOwner,
    async require(program, debianPackage) {
      if (await exec.find(program) !== undefined) return;
      throw missingRequirement(`The program ${program} is not installed`, `apt-get install ${debianPackage}`);
    },
    async removeOwnedTree(path, within) {
      if (!isRoot && await exists(path)) await takeBack(runAsOwner, path);
      await removeTree(path, { within });
    },
  };
}

/** Files of mapped uids cannot be removed by us: make them ours first. chown and chmod do not follow symlinks in a tree. */
async function takeBack(runAsOwner: ImageTools['runAsOwner'], path: string): Promise<void> {
  const options: ExecOptions = { timeoutMs: 120_000, okCodes: [0, 1] };
  await runAsOwner('chown', ['-R', '-h', '0:0', path], options).catch(withoutNamespaces);
  await runAsOwner('chmod', ['-R', 'u+rwX', path], options).catch(withoutNamespaces);
}

/** Where user namespaces or subordinate ids are missing no file of a mapped uid can have been made. */
const withoutNamespaces = (): void => undefined;

async function exists(path: string): Promise<boolean> {
  return stat(path).then(() => true, () => false);
}

/** Makes a directory that package managers running as other uids can pass through and nobody can list. */
export async function makeScratchDir(path: string): Promise<void> {
  await mkdir(path, { mode: 0o711 });
  await chmod(path, 0o711);
}
