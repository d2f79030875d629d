// The verbs that get into a VM or move something across its border, as data.
import { defineCommand, jsonFlag, type CommandDef, type FlagDef } from './command.ts';

const user: FlagDef = { name: 'user', short: 'u', type: 'string', placeholder: 'name', summary: 'User in the guest (default root)' };
const quiet: FlagDef = { name: 'quiet', short: 'q', type: 'boolean', summary: 'No progress on stderr' };

export const accessCommands: readonly CommandDef[] = [
  defineCommand({
    path: ['vm', 'cp'], summary: 'Copy files and trees into a VM, out of it, or between VMs', args: [{ name: 'src', required: true }, { name: 'dst', required: true }],
    flags: [user, quiet, { name: 'no-owners', type: 'boolean', summary: 'Files belong to who receives them, without setuid bits and privileged attributes' }],
    details: [
      'vm:path names a path in a running VM, below the home of the user unless it begins with a slash; ./a:b is a file of this host. SRC - takes a tar stream',
      'from stdin and unpacks it in the directory DST; DST - writes one to stdout. An existing directory DST takes SRC into it, SRC/. only what is in SRC;',
      'else SRC gets the name DST. Owners are kept by number where the receiver is root. Exit code: 0 all of it, 1 failed or not all of it, 2 bad usage.',
    ].join('\n'),
    examples: ['banger vm cp ./repo devbox:/srv/', 'banger vm cp devbox:build/out.log .', 'banger vm cp devbox:/etc/. other:/tmp/etc', 'tar c src | banger vm cp - devbox:/srv'],
    load: () => import('./commands/vm-cp.ts'),
  }),
  defineCommand({
    path: ['vm', 'ssh'], summary: "Open a shell in a running VM, or run a command, with this host's ssh", args: [{ name: 'ref', required: true }], trailing: 'command', runsGuestCommand: true,
    flags: [
      user,
      { name: 'tty', short: 't', type: 'boolean', summary: 'Give the command a terminal' },
      { name: 'forward-agent', short: 'A', type: 'boolean', summary: 'Let the guest use your ssh agent while you are connected' },
      { name: 'local-forward', short: 'L', type: 'list', placeholder: '[addr:]port:host:port', summary: 'Offer a port of the guest here, as ssh -L' },
      { name: 'remote-forward', short: 'R', type: 'list', placeholder: '[addr:]port:host:port', summary: 'Offer a port from here in the guest, as ssh -R' },
      { name: 'dynamic-forward', short: 'D', type: 'list', placeholder: '[addr:]port', summary: 'SOCKS proxy here, connecting from the guest, as ssh -D' },
      { name: 'no-command', short: 'N', type: 'boolean', summary: 'Only forward' },
      { name: 'quiet', short: 'q', type: 'boolean', summary: 'No reminder that the VM still runs' },
    ],
    details: "Without ssh in PATH the guest agent's own terminal does it. Exit code: the command's own; 255 when ssh failed; 125 when banger failed before; 2 for bad usage.",
    examples: ['banger vm ssh devbox', 'banger vm ssh devbox -- make test', 'banger vm ssh -N -L 8080:localhost:80 devbox'],
    load: () => import('./commands/vm-ssh.ts'),
  }),
  defineCommand({
    path: ['vm', 'ssh-config'], summary: 'Print the ssh configuration for one VM', args: [{ name: 'ref', required: true }],
    examples: ['banger vm ssh-config devbox >devbox.conf && ssh -F devbox.conf devbox'], load: () => import('./commands/vm-ssh-config.ts'),
  }),
  defineCommand({
    path: ['ssh-config'], summary: 'Show the ssh configuration for all VMs, or include it in ~/.ssh/config', load: () => import('./commands/ssh-config.ts'),
    flags: [
      jsonFlag,
      { name: 'install', type: 'boolean', summary: 'Include it, so that ssh <name>.vm works, and whatever uses ssh' },
      { name: 'uninstall', type: 'boolean', summary: 'Take that back' },
    ],
    details: 'The line is put at the top of the file, between two marks; nothing else in it changes, and --uninstall leaves it byte for byte as it was.',
    examples: ['banger ssh-config --install && ssh devbox.vm'],
  }),
];
