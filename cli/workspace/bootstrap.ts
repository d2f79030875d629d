// Setting up in the guest what the repository asks for. Best effort: what fails is told and does not end the run.
import type { VmView } from '../../core/api.ts';
import type { BootstrapPlan } from '../../plugins/workspace/shared.ts';
import type { Daemon } from '../daemon-link.ts';
import { renderError } from '../errors.ts';
import type { OperationCall } from '../operation.ts';
import { processOutput } from '../output.ts';
import { runSession } from '../session.ts';

export interface Bootstrap {
  readonly plan: BootstrapPlan;
  readonly vm: Pick<VmView, 'id' | 'name'>;
  readonly guestPath: string;
  readonly hasNetwork: boolean;
  readonly shown: OperationCall;
}

/** Goes on while the person works; only its start is waited for. */
export async function bootstrapBehind(daemon: Daemon, call: Bootstrap): Promise<void> {
  const { bootstrapLog } = await import('./host.ts');
  try {
    await daemon.call('vm.exec.detach', { ref: call.vm.id, command: await scriptCommand(call, false) });
    say(call, `the repository's tools are set up in the background; ${bootstrapLog} in the guest is the log`);
  } catch (error) {
    warn(call, error);
  }
}

/** Waits for it, with its output on stderr. */
export async function bootstrapNow(daemon: Daemon, call: Bootstrap): Promise<void> {
  const { bootstrapLog } = await import('./host.ts');
  const stderr = processOutput(2);
  const stdout = call.shown.quiet ? { write: () => Promise.resolve() } : stderr;
  try {
    const params = { ref: call.vm.id, command: await scriptCommand(call, true), stdin: false };
    const code = await runSession(daemon, params, { streams: { stdout, stderr }, interrupts: call.shown.interrupts });
    if (code !== 0) call.shown.io.err(`banger: not all of the repository's tools are set up: ${bootstrapLog} in the guest has the details\n`);
  } catch (error) {
    warn(call, error);
  }
}

async function scriptCommand({ plan, guestPath, hasNetwork }: Bootstrap, tee: boolean): Promise<readonly string[]> {
  const { bootstrapScript } = await import('./host.ts');
  return ['sh', '-c', bootstrapScript(plan, { guestPath, hasNetwork, tee })];
}

function say({ shown }: Bootstrap, text: string): void {
  if (!shown.quiet) shown.io.err(`banger: ${text}\n`);
}
function warn({ shown }: Bootstrap, error: unknown): void {
  shown.io.err(`banger: the repository's tools are not set up\n${renderError(error, shown.io)}`);
}
