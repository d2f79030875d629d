// Doctor checks of the kernels plugin.
import { access, constants } from 'node:fs/promises';
import { join } from 'node:path';
import type { CheckResult, DoctorCheck } from '../../core/plugin-api.ts';

async function checkApt(): Promise<CheckResult> {
  const missing: string[] = [];
  for (const program of ['apt-get', 'apt-cache', 'dpkg-deb']) {
    const found = await access(join('/usr/bin', program), constants.X_OK).then(() => true, () => false);
    if (!found) missing.push(program);
  }
  if (missing.length === 0) return { level: 'pass', detail: ['apt-get, apt-cache, dpkg-deb'] };
  return {
    level: 'warn', detail: [`${missing.join(', ')} not found: the Debian cloud kernel cannot be downloaded here`],
    hint: 'this needs a Debian host',
  };
}

export const kernelChecks: readonly DoctorCheck[] = [{ name: 'kernel tools', run: checkApt }];
