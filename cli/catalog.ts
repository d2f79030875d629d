// Every built-in command, as data. Handlers are imported when their command runs.
import { defineCommand, jsonFlag, type CommandDef } from './command.ts';
import { accessCommands } from './catalog-access.ts';
import { portCommands } from './catalog-ports.ts';
import { vmCommands } from './catalog-vm.ts';
import { metricsCommand, watchCommands } from './catalog-watch.ts';
import { workspaceCommands } from './catalog-workspace.ts';

const ref = { name: 'ref', required: true };
const refs = { name: 'ref', required: true, variadic: true };

const images: readonly CommandDef[] = [
  defineCommand({ path: ['image', 'list'], summary: 'List local images', flags: [jsonFlag], load: () => import('./commands/image-list.ts') }),
  defineCommand({ path: ['image', 'show'], summary: 'Show one image', args: [ref], flags: [jsonFlag], load: () => import('./commands/image-show.ts') }),
  defineCommand({ path: ['image', 'pull'], summary: 'Fetch or build an image by name', args: [ref], flags: [jsonFlag], load: () => import('./commands/image-pull.ts'), examples: ['banger image pull debian-bookworm'] }),
  defineCommand({ path: ['image', 'delete'], aliases: [['image', 'rm']], summary: 'Delete images that no VM uses', args: [refs], load: () => import('./commands/image-delete.ts') }),
];
const kernels: readonly CommandDef[] = [
  defineCommand({ path: ['kernel', 'list'], summary: 'List local kernels', flags: [jsonFlag], load: () => import('./commands/kernel-list.ts') }),
  defineCommand({ path: ['kernel', 'show'], summary: 'Show one kernel', args: [ref], flags: [jsonFlag], load: () => import('./commands/kernel-show.ts') }),
  defineCommand({ path: ['kernel', 'pull'], summary: 'Fetch a kernel by name', args: [ref], flags: [jsonFlag], load: () => import('./commands/kernel-pull.ts') }),
  defineCommand({ path: ['kernel', 'rm'], aliases: [['kernel', 'delete']], summary: 'Delete kernels that no VM uses', args: [refs], load: () => import('./commands/kernel-rm.ts') }),
];
const operations: readonly CommandDef[] = [
  defineCommand({ path: ['op', 'list'], summary: 'List operations, finished ones included', flags: [jsonFlag], load: () => import('./commands/op-list.ts') }),
  defineCommand({ path: ['op', 'show'], summary: 'Show an operation with its timeline', args: [{ name: 'id', required: true }], flags: [jsonFlag], load: () => import('./commands/op-show.ts') }),
  defineCommand({ path: ['op', 'cancel'], summary: 'Cancel running operations', args: [{ name: 'id', required: true, variadic: true }], load: () => import('./commands/op-cancel.ts') }),
];
const daemon: readonly CommandDef[] = [
  defineCommand({ path: ['daemon', 'status'], summary: 'Show the daemon; starts none', flags: [jsonFlag], load: () => import('./commands/daemon-status.ts') }),
  defineCommand({ path: ['daemon', 'start'], summary: 'Start the daemon when none runs', load: () => import('./commands/daemon-start.ts') }),
  defineCommand({ path: ['daemon', 'stop'], summary: 'Stop the daemon; its VMs keep running', load: () => import('./commands/daemon-stop.ts') }),
  defineCommand({ path: ['daemon', 'socket'], summary: "Print the path of the daemon's socket", load: () => import('./commands/daemon-socket.ts') }),
  defineCommand({
    path: ['daemon', 'logs'], summary: "Print the end of the daemon's log", load: () => import('./commands/daemon-logs.ts'),
    flags: [
      { name: 'follow', short: 'f', type: 'boolean', summary: 'Go on printing what is added' },
      { name: 'lines', short: 'n', type: 'integer', summary: 'How many lines of the end (default 200)' },
      { name: 'path', type: 'boolean', summary: 'Print the path of the log instead' },
    ],
  }),
];
const others: readonly CommandDef[] = [
  defineCommand({ path: ['plugin', 'list'], summary: 'List plugins and their state', flags: [jsonFlag], load: () => import('./commands/plugin-list.ts') }),
  defineCommand({
    path: ['doctor'], summary: 'Check this host, the daemon and its plugins', load: () => import('./commands/doctor.ts'),
    flags: [jsonFlag, { name: 'leaks', type: 'boolean', summary: 'List what is left on this host that no VM owns' }],
    details: 'Exit code 1 when a check fails, and with --leaks when something is left.',
  }),
  metricsCommand,
  defineCommand({ path: ['reclaim'], summary: 'Remove what doctor --leaks lists', flags: [jsonFlag], load: () => import('./commands/reclaim.ts') }),
  defineCommand({ path: ['version'], summary: 'Show version, commit and time of build', flags: [jsonFlag], load: () => import('./commands/version.ts') }),
  defineCommand({
    path: ['rpc'], summary: 'Call any method of the daemon', args: [{ name: 'method', required: true }, { name: 'json' }],
    details: 'The parameters are a JSON object; - reads it from stdin. The result is printed as JSON.',
    examples: ['banger rpc ping', 'banger rpc vm.show \'{"ref":"devbox"}\''], load: () => import('./commands/rpc.ts'),
  }),
];

/** In the order of help. */
export const catalog: readonly CommandDef[] = [...vmCommands, ...watchCommands, ...workspaceCommands, ...accessCommands, ...portCommands, ...images, ...kernels, ...operations, ...daemon, ...others];
