// Makes the directory of a kernel from what a source fetched: kernel image, its ELF form where it boots, modules in load order.
import { createHash } from 'node:crypto';
import { copyFile, glob, mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Exec } from '../../core/plugin-api.ts';
import { extractBootableElf } from './bzimage.ts';
import type { FetchedKernel } from './capability.ts';
import { loadOrder, moduleName, readDependencies, wantedModules } from './modules.ts';

export interface PreparedKernel {
  /** Digest over kernel and modules. */
  readonly id: string;
  /** Load order. */
  readonly modules: readonly string[];
  /** File name of what boots fastest. */
  readonly boot: 'vmlinux' | 'vmlinuz';
}

/** Fills `out`, an empty directory. @throws operation_failed, RangeError on a damaged kernel */
export async function prepareKernel(exec: Exec, fetched: FetchedKernel, to: { readonly out: string; readonly signal: AbortSignal; readonly mark: string }): Promise<PreparedKernel> {
  const image = await readFile(fetched.imagePath);
  const hash = createHash('sha256').update(image);
  await copyFile(fetched.imagePath, join(to.out, 'vmlinuz'));
  const elf = extractBootableElf(image);
  if (elf) await writeFile(join(to.out, 'vmlinux'), elf);
  const modules = await collectModules(exec, fetched.modulesDir, to);
  await mkdir(join(to.out, 'modules'));
  for (const { name, content } of modules) {
    hash.update(`${name} ${content.length}\n`).update(content);
    await writeFile(join(to.out, 'modules', `${name}.ko`), content, { mode: 0o644 });
  }
  return { id: hash.digest('hex'), modules: modules.map((m) => m.name), boot: elf ? 'vmlinux' : 'vmlinuz' };
}

async function collectModules(exec: Exec, dir: string, call: { readonly signal: AbortSignal; readonly mark: string }): Promise<{ name: string; content: Buffer }[]> {
  const paths = new Map<string, string>();
  for await (const path of glob('kernel/**/*.ko{,.xz}', { cwd: dir })) paths.set(moduleName(path), join(dir, path));
  const contents = new Map<string, Buffer>();
  const dependencies = new Map<string, string[]>();
  for (const pending: string[] = [...wantedModules]; pending.length > 0;) {
    const name = pending.pop() ?? '';
    const path = paths.get(name);
    if (path === undefined || dependencies.has(name)) continue;
    const content = await readModule(exec, path, call);
    const needed = readDependencies(content);
    contents.set(name, content);
    dependencies.set(name, needed);
    pending.push(...needed);
  }
  return loadOrder(wantedModules, (name) => dependencies.get(name)).map((name) => ({ name, content: contents.get(name) ?? Buffer.alloc(0) }));
}

/** Stage 1 of the guest has no decompressor, so modules are kept as plain files. */
async function readModule(exec: Exec, path: string, call: { readonly signal: AbortSignal; readonly mark: string }): Promise<Buffer> {
  if (!path.endsWith('.xz')) return readFile(path);
  await exec.run('xz', ['--decompress', '--keep', '--force', '--', path], { signal: call.signal, mark: call.mark });
  return readFile(path.slice(0, -'.xz'.length));
}
