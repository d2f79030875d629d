// Debian's cloud kernel: the newest package the host's apt knows, downloaded and unpacked, never installed. Needs no root.
import { mkdir, readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { isBangerError, missingRequirement, operationFailed } from '../../core/plugin-api.ts';
import type { Exec } from '../../core/plugin-api.ts';
import { hostCodename } from '../images/capability.ts';
import type { FetchedKernel, KernelFetchContext, KernelSource } from './capability.ts';

const metaPackage = 'linux-image-cloud-amd64';
const downloadTimeoutMs = 10 * 60_000;

/** Knows `debian-<codename of this host>`. */
export function createDebianKernelSource(exec: Exec): KernelSource {
  return {
    async knows(ref) {
      return ref === await defaultKernelName() ? { name: ref } : undefined;
    },
    fetch: (ref, ctx) => fetchDebianKernel(exec, ref, ctx),
  };
}

/** The kernel used when none is named. */
export async function defaultKernelName(): Promise<string> {
  return `debian-${await hostCodename() ?? 'bookworm'}`;
}

/**
 * The newest kernel package the meta package depends on, from the output of `apt-cache depends`. Unsigned variants are for
 * building the signed ones.
 */
export function newestKernelPackage(depends: string): string | undefined {
  const names = [...depends.matchAll(/^\s*\|?Depends:\s+(linux-image-\S+-cloud-amd64)\s*$/gm)].map((match) => match[1] ?? '');
  return [...new Set(names)].toSorted((a, b) => a.localeCompare(b, 'en', { numeric: true })).at(-1);
}

async function fetchDebianKernel(exec: Exec, ref: string, ctx: KernelFetchContext): Promise<FetchedKernel> {
  const deb = await downloadPackage(exec, ref, ctx);
  ctx.stage(`kernel ${ref}`, 'unpacking');
  const tree = join(ctx.scratch, 'tree');
  await exec.run('dpkg-deb', ['-x', join(ctx.scratch, deb), tree], { timeoutMs: 120_000, signal: ctx.signal, mark: ctx.mark });
  // Releases after Debian 12 ship /usr/lib/modules.
  const modulesRoot = await firstDirectory([join(tree, 'lib/modules'), join(tree, 'usr/lib/modules')]);
  const [version] = modulesRoot === undefined ? [] : await readdir(modulesRoot);
  if (modulesRoot === undefined || version === undefined) throw operationFailed(`Package ${deb} holds no kernel modules`);
  return { imagePath: join(tree, 'boot', `vmlinuz-${version}`), modulesDir: join(modulesRoot, version), version, source: deb };
}

async function firstDirectory(paths: readonly string[]): Promise<string | undefined> {
  for (const path of paths) if (await stat(path).then((s) => s.isDirectory(), () => false)) return path;
  return undefined;
}

/** First with the host's package lists; when they are missing or name a package that is gone, with fresh lists of our own. */
async function downloadPackage(exec: Exec, ref: string, ctx: KernelFetchContext): Promise<string> {
  try {
    return await attempt(exec, ref, { ctx, apt: [] });
  } catch (error) {
    if (ctx.signal.aborted || !isBangerError(error) || error.code !== 'operation_failed') throw error;
  }
  const apt = await privateLists(ctx.scratch);
  ctx.stage(`kernel ${ref}`, 'fetching package lists');
  await exec.run('apt-get', [...apt, 'update'], { timeoutMs: downloadTimeoutMs, signal: ctx.signal, mark: ctx.mark });
  return attempt(exec, ref, { ctx, apt });
}

async function attempt(exec: Exec, ref: string, how: { readonly ctx: KernelFetchContext; readonly apt: readonly string[] }): Promise<string> {
  const { ctx, apt } = how;
  ctx.stage(`kernel ${ref}`, 'looking for the newest package');
  const options = { signal: ctx.signal, mark: ctx.mark };
  const depends = await exec.run('apt-cache', [...apt, 'depends', metaPackage], { ...options, okCodes: [0, 100] });
  const name = newestKernelPackage(depends.stdout);
  if (name === undefined) {
    if (apt.length === 0) throw operationFailed(`The host's package lists have no ${metaPackage}`);
    throw missingRequirement(`The host's apt sources have no ${metaPackage}`, 'add a Debian archive entry to the apt sources of this host');
  }
  ctx.stage(`kernel ${ref}`, `downloading ${name}`);
  await exec.run('apt-get', [...apt, 'download', name], { ...options, timeoutMs: downloadTimeoutMs, cwd: ctx.scratch });
  const deb = (await readdir(ctx.scratch)).find((file) => file.startsWith(`${name}_`) && file.endsWith('.deb'));
  if (deb === undefined) throw operationFailed(`apt-get downloaded no ${name}`);
  return deb;
}

/** apt's state in a directory of ours: an ordinary user may fill it. */
async function privateLists(scratch: string): Promise<string[]> {
  const state = join(scratch, 'apt-state');
  const cache = join(scratch, 'apt-cache');
  await mkdir(join(state, 'lists/partial'), { recursive: true });
  await mkdir(join(cache, 'archives/partial'), { recursive: true });
  return ['-o', `Dir::State=${state}`, '-o', `Dir::Cache=${cache}`, '-o', 'Dir::State::status=/var/lib/dpkg/status'];
}
