// Doctor checks of the disks plugin.
import { access, constants } from 'node:fs/promises';
import { join } from 'node:path';
import type { CheckResult, DoctorCheck } from '../../core/plugin-api.ts';

const tools = [['mke2fs', 'e2fsprogs'], ['qemu-img', 'qemu-utils']] as const;
const directories = ['/usr/local/sbin', '/usr/local/bin', '/usr/sbin', '/usr/bin', '/sbin', '/bin'];

async function checkTools(): Promise<CheckResult> {
  const missing: (typeof tools)[number][] = [];
  for (const tool of tools) {
    const tries = await Promise.all(directories.map((dir) => access(join(dir, tool[0]), constants.X_OK).then(() => true, () => false)));
    if (!tries.includes(true)) missing.push(tool);
  }
  if (missing.length === 0) return { level: 'pass', detail: [tools.map(([program]) => program).join(', ')] };
  return {
    level: 'fail', detail: missing.map(([program]) => `${program} is not installed`),
    hint: `apt-get install ${missing.map(([, name]) => name).join(' ')}`,
  };
}

export const diskChecks: readonly DoctorCheck[] = [{ name: 'disk tools', run: checkTools }];
