// Step `agent.seed`: the VM's initrd, which is the kernel's with the VM's own archive behind it, and the session token.
import { randomBytes } from 'node:crypto';
import { constants } from 'node:fs';
import { chown, copyFile, open, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { HostInfo, Kernels, Step, Vm } from '../../core/plugin-api.ts';
import { agentFiles } from './guest-agent.ts';
import { renderGuestArchive, tokenBytes } from './guest-config.ts';

export type SeedPlan = { readonly initrd: string; readonly token: string; readonly bootId: string; readonly uid: number | null };

export interface SeedDeps {
  readonly kernels: Kernels;
  readonly host: Pick<HostInfo, 'vmUid'>;
}

function planFor(vm: Vm, host: SeedDeps['host']): SeedPlan {
  const path = (name: string): string => join(vm.dir, name);
  return { initrd: path(agentFiles.initrd), token: path(agentFiles.token), bootId: path(agentFiles.bootId), uid: host.vmUid(vm) ?? null };
}

/** Copies `base` and appends the archive; the kernel wants each archive to begin at a multiple of 4. */
export async function writeInitrd(base: string, archive: Uint8Array, options: { readonly path: string; readonly uid: number | null }): Promise<void> {
  const draft = `${options.path}.draft`;
  await rm(draft, { force: true });
  // Shares the blocks where the file system can.
  await copyFile(base, draft, constants.COPYFILE_FICLONE);
  const file = await open(draft, 'r+');
  try {
    // It holds the session token; only the VMM reads it besides us.
    await file.chmod(0o600);
    const { size } = await file.stat();
    await file.write(archive, 0, archive.length, Math.ceil(size / 4) * 4);
  } finally {
    await file.close();
  }
  if (options.uid !== null) await chown(draft, options.uid, options.uid);
  await rename(draft, options.path);
}

async function removeFiles(plan: SeedPlan): Promise<void> {
  for (const path of [`${plan.initrd}.draft`, plan.initrd, plan.token, plan.bootId]) await rm(path, { force: true });
}

export function seedStep({ kernels, host }: SeedDeps): Step<SeedPlan, null> {
  return {
    name: 'agent.seed',
    phase: 'guest',
    timeoutMs: 30_000,
    plan({ vm }) {
      const data = planFor(vm, host);
      return { data, makes: [`file ${data.initrd}`, `file ${data.token}`] };
    },
    async run(ctx, plan) {
      const token = randomBytes(tokenBytes);
      const archive = renderGuestArchive(ctx.guest, token);
      const kernel = await kernels.get(ctx.vm.spec.kernel);
      await writeFile(plan.token, token, { mode: 0o600 });
      await ctx.touched();
      await writeInitrd(kernel.initrdPath, archive, { path: plan.initrd, uid: plan.uid });
      return null;
    },
    async undo(_ctx, plan) {
      await removeFiles(plan);
    },
  };
}
