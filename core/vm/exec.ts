// vm.exec: a command in a running guest.
import type { VmExecParams, VmExecResult } from '../api.ts';
import type { GuestExecRequest } from '../capabilities.ts';
import { notRunning } from '../errors.ts';
import { serveGuestProcess } from '../guest-process.ts';
import { recovered } from '../lifecycle/recover.ts';
import type { CallContext } from '../plugin-api.ts';
import type { VmContext } from './context.ts';
import { resolveRef } from './ref.ts';
import { viewOf } from './view.ts';

/**
 * Offers a stream; the command begins when the client has attached, so that nothing runs unattended.
 *
 * @throws not_running
 */
export function execVm(ctx: VmContext, params: VmExecParams, call: CallContext): VmExecResult {
  const record = resolveRef(ctx.store, params.ref);
  const { state } = viewOf(ctx, record);
  if (state !== 'running') throw notRunning(record.name, state);
  const vm = ctx.toVm(record);
  const log = ctx.log.child({ opId: call.opId, vm: vm.name });
  const request: GuestExecRequest = {
    command: params.command, stdin: params.stdin, env: { ...record.spec.env, ...params.env },
    ...(params.cwd === undefined ? {} : { cwd: params.cwd }),
    ...(params.user === undefined ? {} : { user: params.user }),
    ...(params.tty === undefined ? {} : { tty: params.tty }),
    ...(params.login === true ? { login: true } : {}),
  };
  const start = async (signal: AbortSignal) => {
    await recovered(ctx.locks, { id: vm.id, name: vm.name, holder: 'vm.exec', signal });
    return ctx.agent().exec(vm, request, signal);
  };
  const ticket = call.peer.offerStream(
    (stream) => { void serveGuestProcess(stream, { start, opId: call.opId, log }); },
    () => log.debug('the client of an exec never attached'));
  return { ticket };
}
