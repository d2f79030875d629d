// Keys of the configuration file that belong to core. Plugins bring the schema of their own `[plugins.<name>]`.
import { z } from 'zod';
import { logLevels } from '../log.ts';

const pluginNames = z.array(z.string().min(1)).default([]);

export const maxVcpu = 256;
/** The smallest guest that a stock cloud kernel boots in. */
export const minMemoryMiB = 64;
export const maxMemoryMiB = 1024 * 1024;

/** Without the tables `[plugins.<name>]`, which the loader takes out first. */
export const coreSchema = z.strictObject({
  log_level: z.enum(logLevels).default('info').describe('Least level that is logged; BANGER_LOG_LEVEL wins.'),
  daemon: z.strictObject({
    idle_exit_minutes: z.number().int().min(0).max(525_600).default(15)
      .describe('Minutes without running VMs, clients and operations after which the daemon ends; 0: never.'),
  }).prefault({}),
  vm_defaults: z.strictObject({
    vcpu: z.number().int().min(1).max(maxVcpu).optional().describe('Virtual CPUs; default: a quarter of the host, 1 to 4.'),
    memory_mib: z.number().int().min(minMemoryMiB).max(maxMemoryMiB).optional().describe('Memory in MiB; default: an eighth of the host, 512 to 8192.'),
    image: z.string().min(1).optional().describe('Image name or reference; default: the image plugins choose.'),
    kernel: z.string().min(1).optional().describe('Kernel name or reference; default: the kernel plugins choose.'),
    driver: z.string().min(1).optional().describe('Plugin whose VMM runs VMs; default: the best that works on this host.'),
    init: z.enum(['auto', 'image', 'agent']).default('auto').describe('What is PID 1 in the guest.'),
  }).prefault({}),
  plugins: z.strictObject({
    disabled: pluginNames.describe('Plugins that are not set up.'),
    required: pluginNames.describe('Plugins without which the daemon does not start.'),
    load: z.array(z.string().min(1)).default([]).describe('Third-party plugins: paths, or package names.'),
  }).prefault({}),
});
