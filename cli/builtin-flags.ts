// Flags of the built-in plugins for `vm run`: what a dry run knows without a daemon. A test holds them to what the plugins say.
import type { CliSpec } from '../core/api.ts';

export const builtinFlags: CliSpec['flags'] = [
  { section: 'disks', name: 'root-size', key: 'rootSize', type: 'string', summary: 'Size of the root disk (default 8G)', placeholder: '<size>', verbs: ['run', 'create', 'set'] },
  { section: 'disks', name: 'disk-size', key: 'workSize', type: 'string', summary: 'Size of the work disk at /root (default 8G)', placeholder: '<size>', verbs: ['run', 'create', 'set'] },
  { section: 'usernet', name: 'network', key: 'network', type: 'string', summary: 'user (outbound only) or none', placeholder: 'user|none', verbs: ['run', 'create', 'set'] },
  {
    section: 'usernet', name: 'publish', key: 'publish', type: 'list', summary: "offer a port of the guest on the VM's address, or on another",
    placeholder: '[addr:]host:guest', verbs: ['run', 'create', 'set'],
  },
  { section: 'ports', name: 'no-auto-ports', key: 'auto', type: 'boolean', value: false, summary: 'Do not forward ports that open in the guest', verbs: ['run', 'create', 'set'] },
];
