// The verbs that get into a VM or move something across its border, as data.
import { defineCommand, type CommandDef, type FlagDef } from './command.ts';

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
];
