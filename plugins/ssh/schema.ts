import { z } from 'zod';
import { isHostPath } from './host-path.ts';

const hostPath = z.string().refine(isHostPath, 'must be an absolute path, or begin with ~/');

/** Section `[plugins.ssh]`. */
export const sshConfig = z.strictObject({
  key_path: hostPath.optional().describe('Private key that ssh offers to every VM; default: one of our own, made at first use'),
  authorized_keys: z.array(hostPath).max(64).default([])
    .describe('Files of public keys that may log in besides that key, such as ["~/.ssh/id_ed25519.pub"]'),
  loopback_port: z.int().min(0).max(65_535).default(0)
    .describe('Port of the SSH server on each VM\'s loopback address; 0: none, VMs are reached through the daemon\'s socket only'),
  handshake_seconds: z.int().min(1).max(120).default(10).describe('Time a connection has to authenticate'),
  max_unauthenticated: z.int().min(1).max(1024).default(32).describe('Connections that have not authenticated yet, at once over all VMs'),
  max_auth_tries: z.int().min(1).max(32).default(6).describe('Failed attempts to authenticate after which a connection is closed'),
  max_connections: z.int().min(1).max(4096).default(128).describe('Authenticated connections at once to one VM'),
  max_channels: z.int().min(1).max(250).default(64).describe('Sessions, forwarded connections and forwarding listeners at once on one connection'),
});
export type SshConfig = z.output<typeof sshConfig>;
