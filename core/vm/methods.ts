// RPC methods vm.*: names, effects, shapes. What they do is in the file of each verb.
import type { z } from 'zod';
import type { VmCreateParams } from '../api.ts';
import type { RpcMethod } from '../plugin-api.ts';
import type { VmContext } from './context.ts';
import { consoleVm } from './console.ts';
import { beginCreate, createStatus, createVm } from './create.ts';
import { deleteVm } from './delete.ts';
import { detachCommand, keptCommands, keptOutput } from './exec-kept.ts';
import { execVm } from './exec.ts';
import { killVm } from './kill.ts';
import { listVms } from './list.ts';
import { vmLogs } from './logs.ts';
import { pauseVm, resumeVm } from './pause.ts';
import { planVm } from './plan.ts';
import { recoverVm } from './recover-vm.ts';
import { restartVm } from './restart.ts';
import * as schema from './schema.ts';
import { setVm } from './set.ts';
import { showVm } from './show.ts';
import { startVm } from './start.ts';
import { stopVm } from './stop.ts';

/** Methods by name. */
// oxlint-disable-next-line typescript/no-explicit-any -- a table holds methods of all params and results
export type MethodTable = Readonly<Record<string, RpcMethod<any, any>>>;

/** Types one method by its own schemas. */
function method<P extends z.ZodType, R extends z.ZodType>(definition: RpcMethod<P, R>): RpcMethod<P, R> {
  return definition;
}

const refErrors = ['not_found', 'ambiguous_ref'] as const;
const startErrors = ['start_failed', 'undo_failed', 'missing_requirement', 'cancelled'] as const;

export function createVmMethods(ctx: VmContext): MethodTable {
  return { ...readMethods(ctx), ...createMethods(ctx), ...lifeMethods(ctx), ...execMethods(ctx), ...otherMethods(ctx) };
}

function readMethods(ctx: VmContext): MethodTable {
  return {
    'vm.list': method({
      summary: 'Lists all VMs, oldest first.', effect: 'read', params: schema.noParams, result: schema.listResult,
      handler: () => { const { vms, columns } = listVms(ctx); return { vms: [...vms], columns }; },
    }),
    'vm.show': method({
      summary: 'Shows one VM.', effect: 'read', params: schema.refParams, result: schema.vmResult, errors: refErrors,
      handler: ({ ref }) => ({ vm: showVm(ctx, ref) }),
    }),
    'vm.logs': method({
      summary: 'Names the files of the console log of one boot of a VM, oldest first, and the boots that have one.',
      effect: 'read', params: schema.logsParams, result: schema.logsResult, errors: [...refErrors, 'missing_requirement'],
      handler: (params) => vmLogs(ctx, params),
    }),
    'vm.plan': method({
      summary: 'Tells what a creation would make on the host; makes nothing.',
      effect: 'read', params: schema.createParams, result: schema.planResult, errors: ['already_exists', 'missing_requirement'],
      handler: async (params) => { const { vm, steps } = await planVm(ctx, params as VmCreateParams); return { vm, steps: [...steps] }; },
    }),
  };
}

function createMethods(ctx: VmContext): MethodTable {
  const errors = ['already_exists', 'not_found', ...startErrors];
  return {
    'vm.create': method({
      summary: 'Creates a VM and starts it.', effect: 'write', operation: 'vm.create', params: schema.createParams, result: schema.vmResult, errors,
      handler: async (params, call) => ({ vm: await createVm(ctx, params as VmCreateParams, call) }),
    }),
    'vm.create.begin': method({
      summary: 'Begins the creation of a VM and answers at once; the operation has the id of this call.',
      effect: 'write', params: schema.createParams, result: schema.operationResult, errors: ['already_exists'],
      handler: (params, call) => ({ operation: beginCreate(ctx, params as VmCreateParams, call) }),
    }),
    'vm.create.status': method({
      summary: 'Shows a creation, with its VM as soon as there is one.',
      effect: 'read', params: schema.operationParams, result: schema.operationResult, errors: ['not_found'],
      handler: ({ id }) => createStatus(ctx, id),
    }),
    'vm.create.cancel': method({
      summary: 'Cancels a creation; everything it made is undone, the VM included.',
      effect: 'write', params: schema.operationParams, result: schema.operationResult, errors: ['not_found'],
      handler: ({ id }) => {
        createStatus(ctx, id);
        ctx.operations.cancel(id);
        return createStatus(ctx, id);
      },
    }),
  };
}

function lifeMethods(ctx: VmContext): MethodTable {
  return {
    'vm.start': method({
      summary: 'Starts a VM; does nothing to a running one.', effect: 'write', operation: 'vm.start',
      params: schema.refParams, result: schema.vmResult, errors: [...refErrors, 'wrong_state', ...startErrors],
      handler: async ({ ref }, call) => ({ vm: await startVm(ctx, ref, call) }),
    }),
    'vm.stop': method({
      summary: 'Asks the guest to power off, ends the VMM, and undoes what the start made.', effect: 'write', operation: 'vm.stop',
      params: schema.refParams, result: schema.vmResult, errors: [...refErrors, 'undo_failed'],
      handler: async ({ ref }, call) => ({ vm: await stopVm(ctx, ref, call) }),
    }),
    'vm.restart': method({
      summary: 'Stops and starts a VM: a real power cycle.', effect: 'write', operation: 'vm.restart',
      params: schema.refParams, result: schema.vmResult, errors: [...refErrors, ...startErrors],
      handler: async ({ ref }, call) => ({ vm: await restartVm(ctx, ref, call) }),
    }),
    'vm.pause': method({
      summary: 'Holds the CPUs of a running VM still, its memory kept; does nothing to a paused one.', effect: 'write', operation: 'vm.pause',
      params: schema.refParams, result: schema.vmResult, errors: [...refErrors, 'not_running', 'unsupported', 'missing_requirement', 'timeout'],
      handler: async ({ ref }, call) => ({ vm: await pauseVm(ctx, ref, call) }),
    }),
    'vm.resume': method({
      summary: 'Lets a paused VM go on and sets the clock of its guest; does nothing to a running one.', effect: 'write', operation: 'vm.resume',
      params: schema.refParams, result: schema.vmResult, errors: [...refErrors, 'not_running', 'unsupported', 'missing_requirement', 'timeout'],
      handler: async ({ ref }, call) => ({ vm: await resumeVm(ctx, ref, call) }),
    }),
    'vm.recover': method({
      summary: 'Makes a stopped VM startable again, or says what is lost.', effect: 'write', operation: 'vm.recover',
      params: schema.recoverParams, result: schema.recoverResult, errors: [...refErrors, 'wrong_state'],
      handler: (params, call) => recoverVm(ctx, params, call),
    }),
    'vm.kill': method({
      summary: 'Ends a VM without asking its guest.', effect: 'write', operation: 'vm.kill',
      params: schema.killParams, result: schema.vmResult, errors: [...refErrors, 'not_running', 'undo_failed'],
      handler: async (params, call) => ({ vm: await killVm(ctx, params, call) }),
    }),
    'vm.delete': method({
      summary: 'Deletes a VM with its disks; ends it first when it runs.', effect: 'write', operation: 'vm.delete',
      params: schema.refParams, result: schema.deleteResult, errors: [...refErrors, 'undo_failed'],
      handler: ({ ref }, call) => deleteVm(ctx, ref, call),
    }),
  };
}

function otherMethods(ctx: VmContext): MethodTable {
  return {
    'vm.console': method({
      summary: 'Opens the serial console of a VM, for one client at a time; its stream is attached to with the ticket.', effect: 'write',
      params: schema.refParams, result: schema.consoleResult, errors: [...refErrors, 'not_running', 'busy', 'unsupported', 'missing_requirement'],
      handler: ({ ref }, call) => consoleVm(ctx, ref, call),
    }),
    'vm.set': method({
      summary: 'Changes CPU count and memory, at the next start, and plugin sections.', effect: 'write', operation: 'vm.set',
      params: schema.setParams, result: schema.vmResult, errors: refErrors,
      handler: async (params, call) => ({ vm: await setVm(ctx, params, call) }),
    }),
  };
}

function execMethods(ctx: VmContext): MethodTable {
  const errors = [...refErrors, 'not_running', 'wrong_state', 'unsupported'];
  return {
    'vm.exec': method({
      summary: 'Runs a command in a running VM; its streams are attached to with the ticket.', effect: 'write',
      params: schema.execParams, result: schema.execResult, errors: [...refErrors, 'not_running', 'wrong_state'],
      handler: (params, call) => execVm(ctx, params, call),
    }),
    'vm.exec.detach': method({
      summary: 'Starts a command that goes on without client and daemon; the guest keeps its output.', effect: 'write',
      params: schema.execDetachParams, result: schema.execDetachResult, errors: [...errors, 'timeout'],
      handler: (params, call) => detachCommand(ctx, params, call),
    }),
    'vm.exec.list': method({
      summary: 'Lists the commands that a running VM keeps, oldest first.', effect: 'read',
      params: schema.refParams, result: schema.execListResult, errors: [...errors, 'timeout'],
      handler: async ({ ref }, call) => ({ commands: [...await keptCommands(ctx, ref, call)] }),
    }),
    'vm.exec.logs': method({
      summary: 'Gives the kept output of a command as streams, attached to with the ticket.', effect: 'write',
      params: schema.execLogsParams, result: schema.execResult, errors,
      handler: (params, call) => keptOutput(ctx, params, call),
    }),
  };
}
