// The verbs that tell what VMs are doing, as data.
import { defineCommand, jsonFlag, type CommandDef } from './command.ts';

const anyRefs = { name: 'ref', variadic: true };

export const watchCommands: readonly CommandDef[] = [
  defineCommand({
    path: ['vm', 'stats'], summary: 'Show what VMs take and do', args: [anyRefs], load: () => import('./commands/vm-stats.ts'),
    flags: [{ name: 'watch', short: 'w', type: 'boolean', summary: 'Show it again every 2 s, until Ctrl-C' }, jsonFlag],
    details: [
      'CPU% is of one CPU and with RSS what the VMM takes of the host; MEM is what the guest says it uses; DISK is what its disks take on the host.',
      'Without a reference every VM. Of one that does not run the last figures known are shown. A guest that does not answer has - for its own word, and a note.',
    ].join('\n'),
    examples: ['banger vm stats', 'banger vm stats --watch devbox', 'banger vm stats --json devbox'],
  }),
  defineCommand({
    path: ['vm', 'top'], summary: 'Watch all VMs on one screen', load: () => import('./commands/vm-top.ts'),
    flags: [{ name: 'sort', type: 'string', placeholder: 'key', summary: 'cpu (the default), mem, name, disk or uptime' }],
    details: 'Keys: c CPU, m memory, n name, d disk, u uptime sort; q quits. Without a terminal it prints once.',
  }),
  defineCommand({
    path: ['vm', 'health'], summary: 'Ask guests whether they are well', args: [anyRefs], flags: [jsonFlag], load: () => import('./commands/vm-health.ts'),
    details: 'Healthy is a running VM whose guest agent answers now. Exit code 1 when one is not. Without a reference every VM.',
  }),
  defineCommand({
    path: ['vm', 'ping'], summary: 'Ask guests for a sign of life', args: [{ ...anyRefs, required: true }], flags: [jsonFlag], load: () => import('./commands/vm-ping.ts'),
    details: 'Exit code 1 when one does not answer.',
  }),
];

export const metricsCommand: CommandDef = defineCommand({
  path: ['metrics'], summary: 'Print figures of all VMs as OpenMetrics text', load: () => import('./commands/metrics.ts'),
  details: 'The same text is served on a loopback port where metrics_listen in [plugins.stats] names one.',
  examples: ['banger metrics | grep banger_vm_state'],
});
