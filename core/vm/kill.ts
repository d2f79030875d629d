// Ends a VM without asking its guest.
import { setTimeout as delay } from 'node:timers/promises';
import type { VmView } from '../api.ts';
import { badRequest, notRunning } from '../errors.ts';
import type { CallContext, ProcessIdentity } from '../plugin-api.ts';
import { tryWrite } from '../store/try-write.ts';
import { liveProcess, underLock } from './context.ts';
import type { VmContext } from './context.ts';
import { endLocked } from './stop.ts';
import { viewOf } from './view.ts';

/** Signals that a person may send to a VMM, without SIG. */
export const killSignals = ['TERM', 'KILL', 'INT', 'HUP', 'QUIT', 'USR1', 'USR2', 'ABRT'] as const;
export type KillSignal = (typeof killSignals)[number];

/** A VMM that heeds a signal is gone within this; whatever is left then gets KILL from the undo. */
const heedMs = 2_000;
const pollMs = 20;

/** Sends the signal to the VMM, then undoes the run. The VM is `stopped` afterwards. @throws not_running; undo_failed */
export async function killVm(ctx: VmContext, params: { readonly ref: string; readonly signal?: string | undefined }, call: CallContext): Promise<VmView> {
  const signal = parseSignal(params.signal ?? 'KILL');
  return underLock(ctx, { ref: params.ref, verb: 'vm.kill', call }, async (record) => {
    const process = liveProcess(ctx, record.id);
    if (process === undefined) throw notRunning(record.name, viewOf(ctx, record).state);
    tryWrite(call.log, `state of ${record.name}`, () => ctx.store.vms.update(record.id, { activity: 'stopping', activityOp: call.opId }));
    if (signal !== 'KILL') await send(ctx, process, signal);
    await endLocked(ctx, record, { call, endReason: 'killed' });
    return viewOf(ctx, ctx.store.vms.get(record.id) ?? record);
  });
}

function parseSignal(text: string): KillSignal {
  const name = text.toUpperCase().replace(/^SIG/, '');
  const found = killSignals.find((signal) => signal === name);
  if (found === undefined) throw badRequest([{ path: 'signal', message: `must be one of ${killSignals.join(', ')}, is ${JSON.stringify(text.slice(0, 20))}` }], 'signal');
  return found;
}

async function send(ctx: VmContext, target: ProcessIdentity, signal: KillSignal): Promise<void> {
  try {
    process.kill(target.pid, `SIG${signal}`);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
  const deadline = performance.now() + heedMs;
  while (performance.now() < deadline && ctx.processes.isAlive(target)) await delay(pollMs);
}
