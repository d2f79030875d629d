// The verbs of `vm workspace`, as data: a repository of the host goes into a VM, and the work comes back.
import { defineCommand, jsonFlag, type ArgDef, type CommandDef, type FlagDef } from './command.ts';
import { workspaceFlags } from './workspace/flags.ts';

const vm = { name: 'vm', required: true };
const quiet: FlagDef = { name: 'quiet', short: 'q', type: 'boolean', summary: 'Nothing on stderr but errors' };
const guestPath: FlagDef = { name: 'guest-path', type: 'string', placeholder: 'dir', summary: 'Which workspace of the VM (default the one prepared last)' };
const repo: FlagDef = { name: 'repo', type: 'string', placeholder: 'dir', summary: 'The repository that the work came to (default the current directory)' };
const kept = 'Works in the repository alone: the VM may be stopped or deleted, and no daemon is needed. <vm> is the name it had.';
const latest = `${kept} Without an operation the last pull is meant.`;
const work: readonly ArgDef[] = [vm, { name: 'operation' }];

export const workspaceCommands: readonly CommandDef[] = [
  defineCommand({
    path: ['vm', 'workspace', 'prepare'], summary: 'Put a git repository into a running VM, or what changed of it', args: [vm, { name: 'path' }],
    flags: [
      ...workspaceFlags, jsonFlag, quiet,
      { name: 'clean', type: 'boolean', summary: 'What the guest has there beyond the checkout goes, such as build output' },
      { name: 'force', type: 'boolean', summary: 'Overwrite edits of the guest' },
    ],
    details: [
      'The guest gets a git repository with the working files as they are here, by default at /root/<name>, without the path the current directory. Tracked',
      'files go in with their uncommitted changes; hooks and remotes other than origin do not. Prepared again, only what changed is sent, and edits of the',
      'guest that would be lost are refused, unless banger vm workspace pull has brought them back.',
    ].join('\n'),
    examples: ['banger vm workspace prepare devbox', 'banger vm workspace prepare devbox ~/src/app --branch try-this', 'banger vm workspace prepare devbox . --dry-run'],
    load: () => import('./commands/vm-workspace-prepare.ts'),
  }),
  defineCommand({
    path: ['vm', 'workspace', 'status'], summary: 'Show the workspaces of a VM, and whether their repositories moved on', args: [vm], flags: [jsonFlag],
    load: () => import('./commands/vm-workspace-status.ts'),
  }),
  defineCommand({
    path: ['vm', 'workspace', 'pull'], summary: "Bring the guest's commits and uncommitted work into the repository, as refs", args: [vm, { name: 'path' }], flags: [guestPath, jsonFlag, quiet],
    details: [
      'The work arrives under refs/banger/<vm>/<operation>: base (what went in), head, index and worktree, untracked files included, ignored ones not. The',
      "repository's working files, index and branches stay as they are. A stopped VM is started for it and stopped again. The path is that of another",
      'repository to bring the work to.',
    ].join('\n'),
    examples: ['banger vm workspace pull devbox && banger vm workspace diff devbox'],
    load: () => import('./commands/vm-workspace-pull.ts'),
  }),
  defineCommand({
    path: ['vm', 'workspace', 'list'], aliases: [['vm', 'workspace', 'ls']], summary: 'List the work that was pulled into a repository', args: [{ name: 'vm' }], flags: [repo, jsonFlag],
    details: 'Works in the repository alone, without a daemon.', load: () => import('./commands/vm-workspace-list.ts'),
  }),
  defineCommand({
    path: ['vm', 'workspace', 'diff'], summary: 'Show what a guest changed, with your git', args: work,
    flags: [repo, { name: 'stat', type: 'boolean', summary: 'Only the files and how much changed' }, { name: 'name-only', type: 'boolean', summary: 'Only the names' }],
    details: latest, examples: ['banger vm workspace diff devbox', 'banger vm workspace diff devbox --stat'], load: () => import('./commands/vm-workspace-diff.ts'),
  }),
  defineCommand({
    path: ['vm', 'workspace', 'apply'], summary: "Merge a guest's changes into the working files, three-way", args: work, flags: [repo, jsonFlag],
    details: `${latest}\nExit code 1 with conflicts, which are left in the files as git does.`,
    examples: ['banger vm workspace apply devbox'], load: () => import('./commands/vm-workspace-apply.ts'),
  }),
  defineCommand({
    path: ['vm', 'workspace', 'drop'], aliases: [['vm', 'workspace', 'rm']], summary: 'Forget pulled work: its refs go', args: work,
    flags: [repo, { name: 'all', type: 'boolean', summary: 'Every operation of the VM' }],
    details: kept, load: () => import('./commands/vm-workspace-drop.ts'),
  }),
  defineCommand({
    path: ['vm', 'workspace', 'export'], summary: 'Print what a guest changed as a binary patch', args: [vm],
    flags: [
      guestPath,
      { name: 'output', short: 'o', type: 'string', placeholder: 'file', summary: 'Write it to a file, which appears whole or not at all' },
      { name: 'base-commit', type: 'string', placeholder: 'sha', summary: "Begin at this commit, the guest's later commits included (default its HEAD, which leaves them out)" },
    ],
    details: "The guest's files, index and refs are left as they are. Untracked files are in the patch, ignored ones are not.",
    examples: ['banger vm workspace export devbox | git apply --3way', 'banger vm workspace export devbox -o work.patch --base-commit HEAD~3'],
    load: () => import('./commands/vm-workspace-export.ts'),
  }),
];
