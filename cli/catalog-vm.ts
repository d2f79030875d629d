// The `vm` verbs, as data.
import { defineCommand, jsonFlag, type CommandDef, type FlagDef } from './command.ts';
import { workspaceFlags } from './workspace/flags.ts';

const refs = { name: 'ref', required: true, variadic: true };
const manyRefs = 'A reference is an id, a name, or the beginning of one that fits a single VM. The VMs are handled at once; one that fails does not hold up the others.';

const size: readonly FlagDef[] = [
  { name: 'vcpu', type: 'integer', placeholder: 'n', summary: 'Virtual CPUs' },
  { name: 'memory', type: 'string', placeholder: 'size', summary: 'Memory: MiB, or with a unit as 2G' },
];
const env: FlagDef = { name: 'env', short: 'e', type: 'list', placeholder: 'K=V', summary: "Environment of the guest's commands; K alone takes your value" };
const quiet: FlagDef = { name: 'quiet', short: 'q', type: 'boolean', summary: 'No progress on stderr' };
const createFlags: readonly FlagDef[] = [
  { name: 'name', type: 'string', placeholder: 'name', summary: 'Name: a DNS label; made up when absent' },
  { name: 'image', type: 'string', placeholder: 'image', summary: 'Image to boot' },
  { name: 'kernel', type: 'string', placeholder: 'kernel', summary: 'Kernel to boot' },
  { name: 'driver', type: 'string', placeholder: 'plugin', summary: 'Plugin that runs the VM' },
  ...size,
  { name: 'init', type: 'string', placeholder: 'auto|image|agent', summary: "PID 1 of the guest: the image's own, or banger's agent" },
  env, quiet,
];
const terminal: readonly FlagDef[] = [
  { name: 'interactive', short: 'i', type: 'boolean', summary: 'Hand on stdin (the default; undoes -n)' },
  { name: 'no-stdin', short: 'n', type: 'boolean', summary: 'Give the command /dev/null as stdin' },
  { name: 'tty', short: 't', type: 'boolean', summary: 'Give the command a terminal' },
];

export const vmCommands: readonly CommandDef[] = [
  defineCommand({
    path: ['vm', 'run'], summary: 'Boot a VM and run a command in it, or a shell', pluginFlags: 'run', runsGuestCommand: true, trailing: 'command',
    args: [{ name: 'path' }],
    flags: [
      ...createFlags, ...terminal, ...workspaceFlags, jsonFlag,
      { name: 'pull', type: 'boolean', summary: 'Bring the work back when the command has ended; with --rm the VM goes only after that' },
      { name: 'no-bootstrap', type: 'boolean', summary: 'Do not set up the tools that the repository asks for' },
      { name: 'rm', type: 'boolean', summary: 'Delete the VM when the command has ended' },
      { name: 'detach', short: 'd', type: 'boolean', summary: 'Only boot it, and print its name' },
      { name: 'plan', type: 'boolean', summary: 'Show what would be made on this host, and make nothing' },
    ],
    details: [
      'With a path the git repository there goes into the VM, and the command runs in it: see banger vm workspace prepare --help. Without a command, mise and',
      "the dev container's postCreateCommand set up what the repository names: in the background of a shell, before -d returns.",
      "Exit code: the command's own; 128+n when signal n ended it; 125 when banger failed before the command ran; 1 when --pull failed after it; 2 for bad usage.",
    ].join('\n'),
    examples: ['banger vm run --rm -- uname -a', 'banger vm run --rm . -- make test', 'banger vm run --rm --pull ./repo -- make format', 'banger vm run --name devbox', 'banger vm run -d --vcpu 2 --memory 2G', 'tar c . | banger vm run --rm -- tar tv'],
    load: () => import('./commands/vm-run.ts'),
  }),
  defineCommand({
    path: ['vm', 'create'], summary: 'Create a VM and start it', pluginFlags: 'create', load: () => import('./commands/vm-create.ts'),
    flags: [...createFlags, jsonFlag, { name: 'no-start', type: 'boolean', summary: 'Do not start it' }],
    examples: ['banger vm create --name devbox --no-start'],
  }),
  defineCommand({
    path: ['vm', 'list'], aliases: [['ps'], ['vm', 'ls']], summary: 'List VMs', load: () => import('./commands/vm-list.ts'),
    flags: [jsonFlag, { name: 'quiet', short: 'q', type: 'boolean', summary: 'Only ids' }],
  }),
  defineCommand({ path: ['vm', 'show'], summary: 'Show VMs in full', args: [refs], flags: [jsonFlag], load: () => import('./commands/vm-show.ts') }),
  defineCommand({ path: ['vm', 'start'], summary: 'Start VMs', args: [refs], details: manyRefs, flags: [quiet], load: () => import('./commands/vm-start.ts') }),
  defineCommand({ path: ['vm', 'stop'], summary: 'Stop VMs gracefully, by force where that fails', args: [refs], details: manyRefs, flags: [quiet], load: () => import('./commands/vm-stop.ts') }),
  defineCommand({ path: ['vm', 'restart'], summary: 'Stop and start VMs', args: [refs], details: manyRefs, flags: [quiet], load: () => import('./commands/vm-restart.ts') }),
  defineCommand({
    path: ['vm', 'pause'], summary: 'Hold VMs still: they keep their memory and use no CPU', args: [refs], flags: [quiet], load: () => import('./commands/vm-pause.ts'),
    details: `What needs the guest is refused until vm resume; commands and connections that are open wait; a copy under way gives up after its own limit. Stop, kill and delete work.\n${manyRefs}`,
  }),
  defineCommand({
    path: ['vm', 'resume'], summary: 'Let paused VMs go on', args: [refs], details: `The clock of the guest is set as well.\n${manyRefs}`, flags: [quiet], load: () => import('./commands/vm-resume.ts'),
  }),
  defineCommand({
    path: ['vm', 'kill'], summary: 'Stop VMs at once', args: [refs], details: manyRefs, load: () => import('./commands/vm-kill.ts'),
    flags: [{ name: 'signal', short: 's', type: 'string', placeholder: 'name', summary: 'Signal for the VMM process, such as KILL' }],
  }),
  defineCommand({
    path: ['vm', 'recover'], summary: 'Make a stopped VM startable again, or say what is lost', args: [{ name: 'ref', required: true }],
    load: () => import('./commands/vm-recover.ts'),
    flags: [
      { name: 'reset-root', type: 'boolean', summary: 'Make its root disk anew: what the guest changed outside of /root is lost' },
      { name: 'reset-work', type: 'boolean', summary: 'Make its work disk anew: everything below /root is lost' }, jsonFlag,
    ],
    details: 'Finishes a teardown that could not end, looks at image, kernel and disks, and repairs what costs nothing. Exit code 1 when it cannot be started.',
    examples: ['banger vm recover devbox', 'banger vm recover devbox --reset-root'],
  }),
  defineCommand({ path: ['vm', 'delete'], aliases: [['vm', 'rm']], summary: 'Delete VMs and their disks', args: [refs], details: manyRefs, load: () => import('./commands/vm-delete.ts') }),
  defineCommand({
    path: ['vm', 'set'], summary: 'Change VMs; size counts from the next start', args: [refs], flags: size, pluginFlags: 'set', details: manyRefs,
    examples: ['banger vm set devbox --vcpu 4'], load: () => import('./commands/vm-set.ts'),
  }),
  defineCommand({
    path: ['vm', 'exec'], summary: 'Run a command in a running VM, or a shell', args: [{ name: 'ref' }], trailing: 'command', runsGuestCommand: true,
    flags: [
      ...terminal, env,
      { name: 'user', short: 'u', type: 'string', placeholder: 'name', summary: 'User in the guest (default root)' },
      { name: 'guest-path', type: 'string', placeholder: 'dir', summary: "Directory in the guest (default root's last workspace, else the user's home)" },
      { name: 'cwd', short: 'w', type: 'string', placeholder: 'dir', summary: 'The same as --guest-path' },
      { name: 'login', short: 'l', type: 'boolean', summary: "Run the command through the user's login shell" },
      { name: 'detach', short: 'd', type: 'boolean', summary: 'Start it, print its id, and let it go on by itself; vm exec logs shows its output' },
      { name: 'all', type: 'boolean', summary: 'Run it on every running VM at once, each line prefixed with the VM' },
      { name: 'auto-prepare', type: 'boolean', summary: 'Bring the workspace to what the repository is now, before the command' },
      { name: 'quiet', short: 'q', type: 'boolean', summary: 'No warning of a repository that moved on; with --all: no summary' },
    ],
    details: [
      "Exit code: the command's own; 128+n when signal n ended it; 125 when banger failed before the command ran; 2 for bad usage. With --all: the first",
      'that is not 0, in the order of vm list; each runs in the home directory. A VM called logs is reached by its id.',
    ].join('\n'),
    examples: [
      'banger vm exec devbox -- make test', 'banger vm exec devbox', 'banger vm exec -t devbox -- top', 'banger vm exec -d devbox -- make -C /srv all',
      'banger vm exec --all -- uptime', 'banger vm exec --auto-prepare devbox -- make test',
    ],
    load: () => import('./commands/vm-exec.ts'),
  }),
  defineCommand({
    path: ['vm', 'exec', 'logs'], summary: 'List the detached commands of a VM, or print the output of one', runsGuestCommand: true,
    args: [{ name: 'ref', required: true }, { name: 'id' }],
    flags: [{ name: 'follow', short: 'f', type: 'boolean', summary: 'Go on until the command ends, and exit with its code' }, jsonFlag],
    details: 'The guest keeps the last 8 MiB of what each command wrote, and the last 64 commands that ended, until the VM stops. An id may be cut short.',
    examples: ['banger vm exec logs devbox', 'banger vm exec logs -f devbox 3f9c'],
    load: () => import('./commands/vm-exec-logs.ts'),
  }),
  defineCommand({
    path: ['vm', 'logs'], summary: "Print a VM's console log", args: [{ name: 'ref', required: true }], load: () => import('./commands/vm-logs.ts'),
    flags: [
      { name: 'follow', short: 'f', type: 'boolean', summary: 'Go on printing what is added, over reboots, until the VM stops' },
      { name: 'boot', short: 'b', type: 'integer', placeholder: 'n', summary: 'Which boot: 0 the last (the default), -1 the one before, 3 the third since creation' },
      { name: 'list-boots', type: 'boolean', summary: 'List the boots that have a log' },
      { name: 'raw', type: 'boolean', summary: 'Give a terminal all bytes of the guest, control sequences too' }, jsonFlag,
    ],
    details: 'A boot is a start of the VM or a reboot by its guest; the logs of the last ones are kept, of stopped VMs too.\nA terminal gets text and colours only, a pipe or file every byte.',
    examples: ['banger vm logs -f devbox', 'banger vm logs -b -1 devbox'],
  }),
  defineCommand({
    path: ['vm', 'console'], summary: "Connect to a VM's serial console, the last resort", args: [{ name: 'ref', required: true }],
    load: () => import('./commands/vm-console.ts'),
    details: 'Works while the guest boots, hangs or panics, and without the guest agent. Leave with Ctrl-]; the VM runs on, and so does who is logged in. Press Enter for a shell.\nOne client at a time. Without a terminal it ends 2 s after the end of the input, once the guest is silent.',
    examples: ['banger vm console devbox'],
  }),
  defineCommand({
    path: ['vm', 'prune'], summary: 'Delete every VM that does not run', load: () => import('./commands/vm-prune.ts'),
    flags: [{ name: 'force', short: 'f', type: 'boolean', summary: 'Do not ask' }],
  }),
];
