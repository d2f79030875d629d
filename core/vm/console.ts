// vm.console: the guest's serial console, both ways. Served below the guest agent, so it works when that does not answer.
import { setTimeout as delay } from 'node:timers/promises';
import { PassThrough, Readable } from 'node:stream';
import type { Duplex } from 'node:stream';
import type { VmConsoleResult } from '../api.ts';
import type { GuestProcess, VmmDriver } from '../capabilities.ts';
import { isBangerError, missingRequirement, notRunning, unsupported } from '../errors.ts';
import { serveGuestProcess } from '../guest-process.ts';
import type { CallContext } from '../plugin-api.ts';
import type { VmRecord } from '../store/vms.ts';
import type { VmContext } from './context.ts';
import { resolveRef } from './ref.ts';
import { viewOf } from './view.ts';

const retryMs = 50;

/** The driver that runs a VM. @throws missing_requirement when it is not active */
export function consoleDriver(ctx: Pick<VmContext, 'drivers'>, { name, spec }: Pick<VmRecord, 'name' | 'spec'>): VmmDriver {
  const driver = ctx.drivers().get(spec.driver);
  if (driver === undefined) throw missingRequirement(`The plugin ${spec.driver} of VM ${name} is not active`, 'banger plugin list shows why');
  return driver;
}

/**
 * Connects to the console and offers it as a stream: stdin, stdout, and an exit with code 0 when the VM has ended. Takes no lock and
 * asks no agent. Connected before the offer, so that what is in the way is the call's own error.
 * @throws not_running; busy when another client is there; unsupported; missing_requirement
 */
export async function consoleVm(ctx: VmContext, ref: string, call: CallContext): Promise<VmConsoleResult> {
  const record = resolveRef(ctx.store, ref);
  const driver = consoleDriver(ctx, record);
  if (driver.connectConsole === undefined) throw unsupported(`VMs of the plugin ${record.spec.driver} have no console`);
  const { state } = viewOf(ctx, record);
  // A paused guest is silent, but what it said last is there.
  if (state !== 'running' && state !== 'paused' && state !== 'starting') throw notRunning(record.name, state);
  const log = ctx.log.child({ opId: call.opId, vm: record.name });
  const process = asProcess(await connectConsole(ctx, record, call.signal));
  const release = ctx.use.hold(record.id, 'console');
  void process.exit.finally(release);
  try {
    const ticket = call.peer.offerStream(
      (stream) => { void serveGuestProcess(stream, { start: () => Promise.resolve(process), opId: call.opId, log }); },
      () => {
        log.debug('the client of a console never attached');
        process.hangup();
      });
    return { ticket };
  } catch (error) {
    process.hangup();
    throw error;
  }
}

/** A VM that is starting gets its console some time on the way, and the start's own limits end the wait. */
async function connectConsole(ctx: VmContext, record: VmRecord, signal: AbortSignal): Promise<Duplex> {
  const driver = consoleDriver(ctx, record);
  const vm = ctx.toVm(record);
  for (;;) {
    try {
      return await driver.connectConsole!(vm, signal);
    } catch (error) {
      const now = ctx.store.vms.get(record.id);
      const isEarly = isBangerError(error) && error.code === 'not_running' && now !== undefined && viewOf(ctx, now).state === 'starting';
      if (!isEarly) throw error;
    }
    await delay(retryMs, undefined, { signal });
  }
}

/** The end of the connection is the end of the VMM; a console has neither size nor signals. */
function asProcess(console: Duplex): GuestProcess {
  const stdout = new PassThrough();
  const exit = new Promise<{ readonly code: number }>((resolve) => {
    console.once('close', () => {
      stdout.end();
      resolve({ code: 0 });
    });
  });
  // A connection that breaks has ended: what broke is the VMM.
  console.on('error', () => undefined);
  console.once('end', () => console.destroy());
  console.pipe(stdout, { end: false });
  return {
    stdin: console, stdout, stderr: Readable.from([]), exit,
    resize: () => undefined, signal: () => undefined, hangup: () => console.destroy(),
  };
}
