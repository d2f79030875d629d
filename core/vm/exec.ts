// vm.exec: a command in a running guest.
import type { VmExecParams, VmExecResult } from '../api.ts';
import type { GuestExecRequest, GuestProcess } from '../capabilities.ts';
import { notRunning, vmPaused } from '../errors.ts';
import { serveGuestProcess } from '../guest-process.ts';
import { recovered } from '../lifecycle/recover.ts';
import type { Vm } from '../model.ts';
import type { CallContext } from '../plugin-api.ts';
import type { VmContext } from './context.ts';
import { resolveRef } from './ref.ts';
import { viewOf } from './view.ts';

/** What a request for a command in a guest may say, whichever way the command is run. */
export type CommandParams = Pick<VmExecParams, 'ref' | 'env' | 'cwd' | 'user'>;

/** @throws not_found; ambiguous_ref; not_running; wrong_state for a paused one */
export function runningVm(ctx: VmContext, ref: string): Vm {
  const record = resolveRef(ctx.store, ref);
  const { state } = viewOf(ctx, record);
  if (state === 'paused') throw vmPaused(record.name);
  if (state !== 'running') throw notRunning(record.name, state);
  return ctx.toVm(record);
}

/** The part of a request that is the same for every command. */
export function requestFor(vm: Vm, params: CommandParams): Pick<GuestExecRequest, 'env' | 'cwd' | 'user'> {
  return {
    env: { ...vm.spec.env, ...params.env },
    ...(params.cwd === undefined ? {} : { cwd: params.cwd }),
    ...(params.user === undefined ? {} : { user: params.user }),
  };
}

/** Begins a command; after a daemon restart as soon as recovery has let go of the VM. */
export async function beginInGuest(ctx: VmContext, vm: Vm, begin: { readonly request: GuestExecRequest; readonly signal: AbortSignal }): Promise<GuestProcess> {
  await recovered(ctx.locks, { id: vm.id, name: vm.name, holder: 'vm.exec', signal: begin.signal });
  return ctx.agent().exec(vm, begin.request, begin.signal);
}

/** Offers the streams of a command, which begins when the client has attached: nothing runs unattended. */
export function offerCommand(ctx: VmContext, vm: Vm, offer: { readonly request: GuestExecRequest; readonly call: CallContext }): VmExecResult {
  const { request, call } = offer;
  const log = ctx.log.child({ opId: call.opId, vm: vm.name });
  const start = (signal: AbortSignal): Promise<GuestProcess> => beginInGuest(ctx, vm, { request, signal });
  const ticket = call.peer.offerStream(
    (stream) => { void serveGuestProcess(stream, { start, opId: call.opId, log }); },
    () => log.debug('the client of an exec never attached'));
  return { ticket };
}

/**
 * Offers a command's streams.
 *
 * @throws not_running
 */
export function execVm(ctx: VmContext, params: VmExecParams, call: CallContext): VmExecResult {
  const vm = runningVm(ctx, params.ref);
  const request: GuestExecRequest = {
    ...requestFor(vm, params), command: params.command, stdin: params.stdin,
    ...(params.tty === undefined ? {} : { tty: params.tty }),
    ...(params.login === true ? { login: true } : {}),
  };
  return offerCommand(ctx, vm, { request, call });
}
