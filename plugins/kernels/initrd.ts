// The base initrd: the guest agent as /init and the modules it loads. Uncompressed: it is about 1.5 MB, and unpacking it in an
// emulated guest takes longer than reading it.
import { createHash } from 'node:crypto';
import { open, readFile, rename, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { missingRequirement } from '../../core/plugin-api.ts';
import { writeCpio } from './cpio.ts';
import type { CpioEntry } from './cpio.ts';

/** Modules in load order, by name. */
export interface InitrdModule { readonly name: string; readonly content: Buffer }

/**
 * Builds the archive. `/banger/modules` lists the modules' paths in load order, one a line.
 *
 * `/dev/console` is there because the kernel opens it as the first process's stdio before any file system is mounted.
 */
export function buildInitrd(agent: Buffer, modules: readonly InitrdModule[]): Buffer {
  const directory = (path: string): CpioEntry => ({ kind: 'directory', path, mode: 0o755 });
  const paths = modules.map((m) => `lib/modules/${m.name}.ko`);
  return writeCpio([
    ...['dev', 'proc', 'sys', 'newroot', 'banger', 'lib', 'lib/modules'].map(directory),
    { kind: 'character-device', path: 'dev/console', mode: 0o600, major: 5, minor: 1 },
    { kind: 'file', path: 'init', mode: 0o755, content: agent },
    { kind: 'file', path: 'banger/modules', mode: 0o644, content: paths.map((path) => `/${path}\n`).join('') },
    ...modules.map((m, index): CpioEntry => ({ kind: 'file', path: paths[index] ?? '', mode: 0o644, content: m.content })),
  ]);
}

/** Reads the agent binary anew only when the file changed. */
export function createAgentReader(path: string): () => Promise<{ readonly hash: string; readonly content: Buffer }> {
  let known: { readonly key: string; readonly hash: string; readonly content: Buffer } | undefined;
  return async () => {
    const file = await stat(path, { bigint: true }).catch(() => undefined);
    if (!file) throw missingRequirement(`The guest agent ${path} is missing`, 'build it: npm run build');
    const key = `${file.ino}-${file.size}-${file.mtimeNs}`;
    if (known?.key !== key) {
      const content = await readFile(path);
      known = { key, content, hash: createHash('sha256').update(content).digest('hex').slice(0, 16) };
    }
    return known;
  };
}

/**
 * Path of the initrd for this agent in a kernel's directory, written when it is not there yet. Another agent has another file
 * name, so an archive in use never changes.
 */
export async function ensureInitrd(
  kernelDir: string, moduleNames: readonly string[], agent: { readonly hash: string; readonly content: Buffer }): Promise<string> {
  const path = join(kernelDir, `initrd-${agent.hash}.img`);
  if (await stat(path).then(() => true, () => false)) return path;
  const modules = await Promise.all(moduleNames.map(async (name) => ({ name, content: await readFile(join(kernelDir, 'modules', `${name}.ko`)) })));
  // Two writers at once write the same bytes to files of their own; the last rename wins and changes nothing.
  const draft = `${path}.${process.pid}-${process.hrtime.bigint()}`;
  const file = await open(draft, 'wx', 0o644);
  try {
    await file.writeFile(buildInitrd(agent.content, modules));
    await file.chmod(0o644);
    await file.sync();
  } finally {
    await file.close();
  }
  await rename(draft, path);
  return path;
}
