// The keys: one of ours for all clients, one for each VM's host side. Made once, whole or not at all. None enters a guest.
import { chmod, mkdir, open, readFile, rename, rm, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { createKeyedLock, operationFailed } from '../../core/plugin-api.ts';
import type { Vm } from '../../core/plugin-api.ts';
import { generateKey, parsePublicKey, publicKeyOf } from './openssh-key.ts';
import type { KeyPair } from './openssh-key.ts';

export { readAuthorizedKeys } from './authorized-keys.ts';

export interface ClientKey {
  /** Absolute. Also the file of ssh's `IdentityFile`. */
  readonly privateKeyPath: string;
  /** `ssh-ed25519 AAAA... comment`; of another type when `key_path` names such a key. */
  readonly publicKey: string;
}

/** Two makers of one key must not end with two keys. */
const making = createKeyedLock();

export const hostKeyPath = (vm: Pick<Vm, 'dir'>): string => join(vm.dir, 'ssh_host_ed25519_key');

/**
 * The key that our ssh configuration offers to every VM: `id_ed25519` in `dir`, or the file that the configuration names. Made when
 * there is none. `dir` becomes 0700, the key 0600.
 * @throws operation_failed when the file there is no private key we can tell the public half of
 */
export async function ensureClientKey(dir: string, keyPath?: string): Promise<ClientKey> {
  const privateKeyPath = keyPath ?? join(dir, 'id_ed25519');
  await mkdir(dirname(privateKeyPath), { recursive: true, mode: 0o700 });
  return making.run(privateKeyPath, { holder: 'make a key' }, async () => {
    const { publicKey } = await readOrMake(privateKeyPath, 'banger');
    if (keyPath === undefined) {
      // ssh refuses a private key that others may read.
      await chmod(dir, 0o700);
      await chmod(privateKeyPath, 0o600);
      await writeWhenDifferent(`${privateKeyPath}.pub`, `${publicKey}\n`, 0o644);
    }
    return { privateKeyPath, publicKey };
  });
}

/**
 * The VM's host key, made when there is none. Safe to call at any time and at once from several places.
 * @throws operation_failed when the VM's directory is gone, or the file is no private key
 */
export function ensureHostKey(vm: Pick<Vm, 'dir' | 'name'>): Promise<KeyPair> {
  const path = hostKeyPath(vm);
  return making.run(path, { holder: 'make a key' }, () => readOrMake(path, `${vm.name}.vm`));
}

/** Safe to run again: a missing file is no error. */
export async function removeHostKey(vm: Pick<Vm, 'dir'>): Promise<void> {
  await rm(hostKeyPath(vm), { force: true });
}

/** The public half of a VM's host key; `undefined` while it has none. */
export async function readHostKey(vm: Pick<Vm, 'dir'>): Promise<string | undefined> {
  return (await readKey(hostKeyPath(vm)))?.publicKey;
}

async function readOrMake(path: string, comment: string): Promise<KeyPair> {
  const known = await readKey(path);
  if (known) return known;
  const made = generateKey(comment);
  await writeWhole(path, made.privateKey, 0o600);
  return made;
}

async function readKey(path: string): Promise<KeyPair | undefined> {
  let privateKey: string;
  try {
    privateKey = await readFile(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw operationFailed(`SSH key ${path} cannot be read`, { cause: error });
  }
  const publicKey = publicKeyOf(privateKey) ?? await publicKeyBeside(path);
  if (publicKey !== undefined) return { privateKey, publicKey };
  throw operationFailed(`${path} is not an OpenSSH private key`, { hint: 'remove it, and a new key is made; for a key of another format put its public half beside it, as .pub' });
}

/** For formats that hide their public half. */
async function publicKeyBeside(path: string): Promise<string | undefined> {
  const line = await readFile(`${path}.pub`, 'utf8').catch(() => ''); // its absence is told by the caller
  const key = parsePublicKey(line.split('\n', 1)[0]!);
  return key && [key.type, key.base64, key.comment].join(' ').trim();
}

/** Writes a file that others see whole or not at all, also after a power cut. */
export async function writeWhole(path: string, content: string, mode: number): Promise<void> {
  // One name a file, so that what a crash left is written over; callers see to it that there is one writer.
  const draft = `${path}.new`;
  try {
    await rm(draft, { force: true });
    const file = await open(draft, 'wx', mode);
    try {
      await file.chmod(mode);
      await file.writeFile(content);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(draft, path);
  } catch (error) {
    await rm(draft, { force: true });
    throw operationFailed(`${path} cannot be written`, { cause: error });
  }
}

/** Answers whether it wrote. */
export async function writeWhenDifferent(path: string, content: string, mode: number): Promise<boolean> {
  const there = await readFile(path, 'utf8').catch(() => undefined); // unreadable counts as different
  if (there === content && ((await stat(path)).mode & 0o777) === mode) return false;
  await writeWhole(path, content, mode);
  return true;
}
