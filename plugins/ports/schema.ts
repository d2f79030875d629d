// Shapes of the ports plugin: configuration, the VM's section, RPC.
import { isIPv4 } from 'node:net';
import { z } from 'zod';

const port = z.int().min(1).max(65_535);

/** `[network]`, which reaches the plugin as `entries`. */
export const networkConfig = z.strictObject({
  host_access: z.array(port).max(64).default([]).transform((ports) => [...new Set(ports)])
    .describe("Ports of the host's 127.0.0.1 that every guest reaches as host.banger.internal; all others stay closed to guests"),
});
export const portsConfig = z.strictObject({
  entries: networkConfig.prefault({}).describe('What of the host guests may reach.'),
});
export type PortsConfig = z.output<typeof portsConfig>;

export const portsSection = z.strictObject({
  auto: z.boolean().default(true).describe('Ports that open in the guest are forwarded on the VM\'s loopback address by themselves'),
});
export type PortsSection = z.output<typeof portsSection>;

/** The section of a VM's spec, with defaults for a VM made before this plugin was there. */
export function sectionOf(sections: Readonly<Record<string, unknown>>): PortsSection {
  return portsSection.parse(sections['ports'] ?? {});
}

const ref = z.string().min(1).max(256).describe('VM id, name, or a unique prefix of either');
const address = z.string().refine((text) => isIPv4(text), 'is not an IPv4 address');
const protocol = z.enum(['tcp', 'udp']);

export const addParams = z.strictObject({
  ref,
  guestPort: port.describe('Port in the guest'),
  hostPort: port.optional().describe("Port of this host; default: the guest's, or a high one where that is kept for root"),
  address: address.optional().describe("Address of this host; default: the VM's own"),
  protocol: protocol.optional().describe('Default tcp'),
});
export const removeParams = z.strictObject({
  ref,
  hostPort: port.describe('Port of this host'),
  address: address.optional().describe("Address of this host; default: the VM's own, or the only one that has the port"),
  protocol: protocol.optional().describe('Default tcp'),
});
export const listParams = z.strictObject({
  refs: z.array(z.string().min(1).max(256)).max(4096).optional().describe('ids, names, or beginnings that fit a single VM each; default: every running VM'),
});

const forwardView = z.object({
  protocol, address: z.string(), hostPort: z.int(), guestPort: z.int(), guestHost: z.string(), source: z.enum(['published', 'auto', 'added']),
});
const vmView = z.object({ id: z.string(), name: z.string() });
export const forwardResult = z.object({ forward: forwardView });
export const listResult = z.object({
  vms: z.array(z.object({
    vm: vmView,
    address: z.string(),
    auto: z.boolean(),
    forwards: z.array(forwardView),
    unforwarded: z.array(z.object({ protocol, guestPort: z.int(), why: z.string() })),
    notices: z.array(z.string()),
    error: z.object({ code: z.string(), message: z.string(), hint: z.string().optional() }).optional(),
  })),
});
