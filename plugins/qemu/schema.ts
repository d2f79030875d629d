import { z } from 'zod';

/** Section `[plugins.qemu]`. */
export const qemuConfig = z.strictObject({
  accel: z.enum(['auto', 'kvm', 'tcg']).default('auto')
    .describe('kvm: hardware acceleration; tcg: software emulation; auto: kvm where /dev/kvm opens and the CPU has vmx or svm'),
  binary: z.string().min(1).default('qemu-system-x86_64').describe('QEMU program, a name in PATH or an absolute path'),
  machine: z.enum(['q35', 'pc']).default('q35').describe('QEMU machine type'),
  cpu: z.string().regex(/^[A-Za-z0-9][\w.+-]*(,[\w.+-]+(=[\w.+-]+)?)*$/, 'must be a QEMU CPU model with flags').optional()
    .describe('QEMU CPU model; default: host with kvm, qemu64 with tcg'),
  console_log_kib: z.int().min(64).max(1_048_576).default(4096).describe('Console log kept for each boot of a VM, in KiB; the last 5 boots are kept'),
});
export type QemuConfig = z.output<typeof qemuConfig>;
