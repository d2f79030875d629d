// The verbs about ports of guests, as data.
import { defineCommand, jsonFlag, type CommandDef, type FlagDef } from './command.ts';

const anyRefs = { name: 'ref', variadic: true };
const udp: FlagDef = { name: 'udp', type: 'boolean', summary: 'UDP in place of TCP' };

export const portCommands: readonly CommandDef[] = [
  defineCommand({
    path: ['vm', 'ports'], summary: 'Show what listens in running VMs, and where this host reaches it', args: [anyRefs], load: () => import('./commands/vm-ports.ts'),
    flags: [jsonFlag, { name: 'no-probe', type: 'boolean', summary: 'Do not look for http and https' }],
    details: 'What a guest listens on is its own word. Without a reference every running VM. Exit code 1 when one cannot be asked.',
    examples: ['banger vm ports devbox', 'banger vm ports --json'],
  }),
  defineCommand({
    path: ['vm', 'port', 'add'], summary: "Offer ports of a running VM on this host", load: () => import('./commands/vm-port-add.ts'),
    args: [{ name: 'ref', required: true }, { name: 'port', required: true, variadic: true }], flags: [udp, jsonFlag],
    details: [
      'A port is [[addr:]host:]guest: 3000, 8080:3000 or 0.0.0.0:8080:3000. Without an address it is on the VM\'s own; an ordinary user gets a port below 1024 at',
      '20000 more. It is there until the VM stops, also over a restart of the daemon; banger vm set --publish is for good.',
    ].join('\n'),
    examples: ['banger vm port add devbox 3000', 'banger vm port add devbox 8080:80', 'banger vm port add devbox 53 --udp'],
  }),
  defineCommand({
    path: ['vm', 'port', 'rm'], aliases: [['vm', 'port', 'delete']], summary: 'End added ports; connections live on', load: () => import('./commands/vm-port-rm.ts'),
    args: [{ name: 'ref', required: true }, { name: 'port', required: true, variadic: true }], flags: [udp, jsonFlag],
    details: 'A port is [addr:]host, as banger vm port list shows it.', examples: ['banger vm port rm devbox 8080'],
  }),
  defineCommand({
    path: ['vm', 'port', 'list'], aliases: [['vm', 'port', 'ls']], summary: 'List forwarded ports of running VMs, and what is not forwarded', args: [anyRefs],
    flags: [jsonFlag], load: () => import('./commands/vm-port-list.ts'),
    details: 'auto: there as long as something listens in the guest. added: by vm port add. published: by --publish.', examples: ['banger vm port list devbox'],
  }),
];
