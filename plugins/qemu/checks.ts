import type { DoctorCheck, Exec } from '../../core/plugin-api.ts';
import { chooseAccelerator } from './accel.ts';
import type { AccelHost } from './accel.ts';
import type { QemuConfig } from './schema.ts';

/** What a check needs of the running plugin; filled by `setup`. */
export interface CheckRuntime { exec?: Exec }

export const accelHost: AccelHost = { kvmPath: '/dev/kvm', cpuinfoPath: '/proc/cpuinfo', uid: process.getuid?.() ?? 0 };

export function qemuChecks(runtime: CheckRuntime): readonly DoctorCheck<QemuConfig>[] {
  return [{
    name: 'qemu',
    async run({ config, signal }) {
      const path = await runtime.exec?.find(config.binary);
      if (runtime.exec === undefined || path === undefined) {
        return { level: 'fail', detail: [`${config.binary} is not found`], hint: 'install the package qemu-system-x86' };
      }
      const { stdout } = await runtime.exec.run(path, ['--version'], { timeoutMs: 10_000, signal });
      const version = /version (\S+)/.exec(stdout)?.[1] ?? 'of unknown version';
      const accel = chooseAccelerator(config.accel, accelHost);
      const detail = [`QEMU ${version}, ${path}`, `accelerator ${accel.name}: ${accel.reason}`];
      if (config.accel === 'kvm' && accel.name !== 'kvm') {
        return { level: 'fail', detail, hint: 'set accel = "auto" in [plugins.qemu], or give this user access to /dev/kvm' };
      }
      return accel.name === 'kvm' ? { level: 'pass', detail }
        : { level: 'warn', detail, hint: 'VMs run slower under software emulation; use a host with hardware virtualisation where there is one' };
    },
  }];
}
