// Params and results of vm.* on the wire. core/api.ts has the same shapes as types.
import { z } from 'zod';

const initMode = z.enum(['auto', 'image', 'agent']).describe('PID 1 in the guest: the image\'s init, our agent, or the first that works');
const ref = z.string().min(1).max(128).describe('VM id, name, or a unique prefix of either');
const sections = z.record(z.string(), z.unknown()).describe('Plugin name to the values of its section');
const env = z.record(z.string(), z.string());

export const refParams = z.strictObject({ ref });
export const noParams = z.strictObject({});
export const createParams = z.strictObject({
  name: z.string().optional().describe('DNS label; generated when absent'),
  image: z.string().min(1).optional().describe('Image name or reference'),
  kernel: z.string().min(1).optional().describe('Kernel name or reference'),
  driver: z.string().min(1).optional().describe('Plugin whose VMM runs the VM'),
  vcpu: z.number().optional().describe('Virtual CPUs'),
  memoryMiB: z.number().optional().describe('Memory in MiB'),
  init: initMode.optional(),
  env: env.optional().describe('Environment of every command run in the guest'),
  sections: sections.optional(),
  start: z.boolean().optional().describe('Start it too; default true'),
  lease: z.boolean().optional().describe('Delete the VM when this connection is lost; default false'),
});
export const killParams = z.strictObject({
  ref, signal: z.string().max(20).optional().describe('TERM, KILL, INT, HUP, QUIT, USR1, USR2 or ABRT; default KILL'),
});
export const setParams = z.strictObject({
  ref,
  vcpu: z.number().optional().describe('Virtual CPUs, at the next start'),
  memoryMiB: z.number().optional().describe('Memory in MiB, at the next start'),
  sections: sections.optional(),
});
export const execParams = z.strictObject({
  ref,
  command: z.array(z.string()).describe('Program and arguments; empty: the login shell'),
  env: env.optional(),
  cwd: z.string().optional(),
  user: z.string().optional(),
  tty: z.strictObject({
    cols: z.number().int().min(1).max(65_535), rows: z.number().int().min(1).max(65_535), term: z.string().max(64),
  }).optional().describe('Terminal of the client; absent: none'),
  stdin: z.boolean().describe('false: standard input is /dev/null'),
  login: z.boolean().optional().describe("true: through the user's login shell"),
});
const guestCommand = {
  ref,
  env: env.optional(),
  cwd: z.string().optional().describe('Directory in the guest'),
  user: z.string().optional().describe('User in the guest; default root'),
  login: z.boolean().optional().describe("true: through the user's login shell"),
};
export const execDetachParams = z.strictObject({
  ...guestCommand, command: z.array(z.string()).min(1).describe('Program and arguments'),
});
export const execLogsParams = z.strictObject({
  ref,
  id: z.string().regex(/^[0-9a-f]{1,32}$/, 'must be hex digits').describe('Id of a kept command, or the beginning of one'),
  follow: z.boolean().optional().describe('Go on until the command ends; default false'),
});
export const operationParams = z.strictObject({ id: z.string().min(1).max(64).describe('Operation id') });

export const vmView = z.object({
  id: z.string(), name: z.string(),
  state: z.enum(['created', 'starting', 'running', 'paused', 'stopping', 'stopped', 'error']),
  stateReason: z.string().optional(),
  image: z.string().describe('Name the user gave'), imageId: z.string(), kernel: z.string(), driver: z.string(),
  vcpu: z.number(), memoryMiB: z.number(), init: initMode,
  createdAt: z.string(), startedAt: z.string().optional(), reboots: z.number().describe('Reboots by the guest since the start'),
  process: z.object({ pid: z.number() }).optional(),
  lastError: z.object({ code: z.string(), message: z.string(), opId: z.string().optional() }).optional(),
  end: z.object({
    reason: z.string().describe('guest-poweroff, guest-panic, stopped, unused, killed, vmm-killed, out-of-memory, vmm-died, disk-full or unknown'),
    at: z.string(), detail: z.array(z.string()).readonly().optional().describe('Lines for people; the guest may have written any of them'),
  }).optional().describe('How the last run ended; not while it runs'),
  sections: z.record(z.string(), z.unknown()),
});
export const recoverParams = z.strictObject({
  ref, reset: z.array(z.string().max(32)).max(16).optional().describe('What to make anew, its contents lost: root (the root disk), work (the work disk)'),
});
export const recoverResult = z.object({
  vm: vmView, startable: z.boolean().describe('Nothing that was looked at is in the way of a start'),
  findings: z.array(z.object({
    subject: z.string(), state: z.enum(['ok', 'repaired', 'damaged', 'broken', 'unknown']).describe('damaged: a start works, something is lost; broken: it does not'),
    text: z.string(), hint: z.string().optional(),
  })).readonly(),
});
export const vmResult = z.object({ vm: vmView });
export const listResult = z.object({
  vms: z.array(vmView), columns: z.array(z.object({ header: z.string(), section: z.string(), key: z.string() })).readonly(),
});
export const deleteResult = z.object({ id: z.string(), name: z.string() });
export const planResult = z.object({
  vm: z.object({ name: z.string() }),
  steps: z.array(z.object({
    name: z.string(), plugin: z.string(), phase: z.string(), makes: z.array(z.string()).readonly(), needsRoot: z.string().optional(),
  })),
});
export const execResult = z.object({ ticket: z.string().describe('To attach with, within 10 s') });
export const execDetachResult = z.object({ id: z.string().describe('Of the kept command') });
export const execListResult = z.object({
  commands: z.array(z.object({
    id: z.string(), state: z.enum(['running', 'ended', 'lost']), pid: z.number(), user: z.string(), command: z.array(z.string()).readonly(),
    startedAt: z.string(), endedAt: z.string().optional(),
    exit: z.union([z.object({ code: z.number() }), z.object({ signal: z.string(), number: z.number() })]).optional(),
    outputBytes: z.number().optional(), droppedBytes: z.number().optional(),
  })),
});
export const logsParams = z.strictObject({
  ref,
  boot: z.number().int().min(-1_000_000).max(1_000_000_000).optional().describe('Counted from 1 since the VM was created; 0 (the default): the last, -1: the one before it'),
});
export const logsResult = z.object({
  boot: z.number().optional().describe('Absent when nothing has been logged yet'),
  files: z.array(z.string()).describe('Console logs of that boot, oldest first'),
  boots: z.array(z.object({ boot: z.number(), bytes: z.number(), lastWriteAt: z.string() })).describe('Boots with a log, oldest first'),
  grows: z.boolean().describe('More may come: the VM runs, or is on its way up or down'),
});
export const consoleResult = z.object({ ticket: z.string().describe('To attach with, within 10 s') });
const timelineEntry = z.object({
  name: z.string(), plugin: z.string(), atMs: z.number(), durationMs: z.number().optional(), outcome: z.enum(['ok', 'failed', 'skipped']).optional(),
});
export const operationView = z.object({
  id: z.string(), kind: z.string(), subject: z.string().optional(), state: z.enum(['running', 'done', 'failed', 'cancelled']), done: z.boolean(),
  stage: z.string().optional(), detail: z.string().optional(), startedAt: z.string(), finishedAt: z.string().optional(),
  error: z.object({ code: z.string(), message: z.string() }).optional(), timeline: z.array(timelineEntry).readonly(),
});
export const operationResult = z.object({ operation: operationView, vm: vmView.optional() });
