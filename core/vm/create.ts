// Creates a VM: check, resolve, reserve, start.
import type { OperationView, VmCreateParams, VmView } from '../api.ts';
import { alreadyExists, isBangerError, notFound } from '../errors.ts';
import { createVmId } from '../ids.ts';
import { ensureVmDirs } from '../paths.ts';
import type { CallContext, VmSpec } from '../plugin-api.ts';
import { generateName } from '../names.ts';
import type { VmRecord } from '../store/vms.ts';
import { nowIso } from './context.ts';
import type { VmContext } from './context.ts';
import { holdLease } from './lease.ts';
import { requireHostRoom } from './preflight.ts';
import { checkSpec, chooseDriver, ensureParts } from './spec.ts';
import { viewOf } from './view.ts';

/**
 * Creates a VM and, unless `start` is false, starts it.
 *
 * A first start that fails is undone whole; the record stays in state `error`, except with a lease or when the call was cancelled: then it
 * goes too.
 *
 * @throws bad_request, not_found, already_exists, missing_requirement before anything is made; start_failed, cancelled
 */
export async function createVm(ctx: VmContext, params: VmCreateParams, call: CallContext): Promise<VmView> {
  const checked = checkSpec(ctx, params);
  // Asked again under the lock; asked here so that nobody waits for an image first.
  if (params.name !== undefined) requireFree(ctx, params.name);
  const driver = await chooseDriver(ctx, params.driver ?? ctx.defaults.driver);
  call.stage('resolve', 'image and kernel');
  const { image, kernel } = await ensureParts(ctx, params, { opId: call.opId, signal: call.signal, stage: (name, detail) => call.stage(name, detail) });
  call.signal.throwIfAborted();
  if (params.start !== false) await requireStartable(ctx, checked.memoryMiB, params.name);
  const spec: VmSpec = { ...checked, image: image.id, imageName: image.name, kernel: kernel.id, driver };
  const id = createVmId();
  const release = await ctx.locks.acquire(id, { holder: `vm.create (${call.opId})` });
  try {
    const record = await reserve(ctx, { id, spec, params }, call.opId);
    ctx.operations.describe(call.opId, record.name);
    const signal = params.lease === true ? AbortSignal.any([call.signal, holdLease(ctx, record, call.peer)]) : call.signal;
    if (params.start !== false) await firstStart(ctx, record, withSignal(call, signal));
    return viewOf(ctx, ctx.store.vms.get(id) ?? record);
  } finally {
    release();
  }
}

/** Begins a creation that outlives the call; its operation has the call's id. Refuses at once what can be refused at once. */
export function beginCreate(ctx: VmContext, params: VmCreateParams, call: CallContext): OperationView {
  checkSpec(ctx, params);
  if (params.name !== undefined) requireFree(ctx, params.name);
  return ctx.operations.spawn('vm.create', params.name, call, (inner) => createVm(ctx, params, inner));
}

/** State of a creation, with its VM as soon as there is one. */
export function createStatus(ctx: VmContext, id: string): { operation: OperationView; vm?: VmView } {
  const operation = ctx.operations.show(id);
  if (operation.kind !== 'vm.create') throw notFound('operation', id);
  const record = operation.subject === undefined ? undefined : ctx.store.vms.getByName(operation.subject);
  return record === undefined ? { operation } : { operation, vm: viewOf(ctx, record) };
}

/** What a start would refuse later, refused before anything is made. */
async function requireStartable(ctx: VmContext, memoryMiB: number, name = 'to be created'): Promise<void> {
  ctx.agent();
  await requireHostRoom({ name, memoryMiB, stateDir: ctx.paths.stateDir });
}

function requireFree(ctx: VmContext, name: string): void {
  if (ctx.store.vms.getByName(name) !== undefined) throw alreadyExists('VM', name);
}

interface Reservation { readonly id: string; readonly spec: VmSpec; readonly params: VmCreateParams }

function reserve(ctx: VmContext, { id, spec, params }: Reservation, opId: string): Promise<VmRecord> {
  return ctx.createLock.run('create', { holder: 'vm.create' }, () => ctx.store.transaction(() => {
    if (params.name !== undefined) requireFree(ctx, params.name);
    const name = params.name ?? generateName((candidate) => ctx.store.vms.getByName(candidate) !== undefined);
    const record: VmRecord = {
      id, name, slot: ctx.store.vms.freeSlot(), spec, createdAt: nowIso(ctx), lease: params.lease === true, published: false, reboots: 0,
    };
    ctx.store.vms.insert(record);
    // A daemon that dies between this row and the start leaves an interrupted start, not a VM that nobody began.
    if (params.start !== false) ctx.store.vms.update(id, { activity: 'starting', activityOp: opId });
    // Inside the transaction: a record without its directory does not stay.
    ensureVmDirs(ctx.paths, id);
    return record;
  }));
}

async function firstStart(ctx: VmContext, record: VmRecord, call: CallContext): Promise<void> {
  try {
    await ctx.lifecycle.start(record, call);
  } catch (error) {
    if (record.lease || (isBangerError(error) && error.code === 'cancelled')) {
      // Problems stay in the record and in the log; the reason of the failure is what the caller wants to know.
      await ctx.lifecycle.remove(ctx.store.vms.get(record.id) ?? record, { reason: 'rollback', opId: call.opId, log: call.log });
    }
    throw error;
  }
}

function withSignal(call: CallContext, signal: AbortSignal): CallContext {
  return {
    opId: call.opId, peer: call.peer, log: call.log, signal,
    stage: (name, detail) => call.stage(name, detail), timeline: (entry) => call.timeline(entry),
  };
}
