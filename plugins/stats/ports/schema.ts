// Shapes of vm.ports.
import { z } from 'zod';

export const portsParams = z.strictObject({
  refs: z.array(z.string().min(1).max(256)).max(4096).optional().describe('ids, names, or beginnings that fit a single VM each; default: every running VM'),
  probe: z.boolean().optional().describe('false: does not look for http and https. Default true'),
});

const portRow = z.object({
  protocol: z.enum(['tcp', 'udp']),
  port: z.int(),
  addresses: z.array(z.string()),
  process: z.string().optional(),
  pid: z.int().optional(),
  endpoint: z.string().optional(),
  why: z.string().optional(),
  url: z.string().optional(),
});
export type PortRow = z.output<typeof portRow>;

export const portsResult = z.object({
  vms: z.array(z.object({
    vm: z.object({ id: z.string(), name: z.string() }),
    ports: z.array(portRow),
    more: z.int(),
    error: z.object({ code: z.string(), message: z.string(), hint: z.string().optional() }).optional(),
  })),
});
