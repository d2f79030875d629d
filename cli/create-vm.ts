// Creating a VM with its stages shown; Ctrl-C cancels the operation, and once more leaves at once.
import type { VmCreateParams, VmView } from '../core/api.ts';
import { BangerError } from '../core/errors.ts';
import type { Daemon } from './daemon-link.ts';
import { Interrupts, interruptExitCode, type InterruptSignal } from './interrupts.ts';
import type { Io } from './io.ts';
import { hasColor } from './render/color.ts';
import { createProgress } from './render/progress.ts';
import { formatDuration } from './render/units.ts';

/** The person stopped the command; its exit code is that of the signal. */
export class Interrupted extends BangerError {
  readonly exitCode: number;
  constructor(signal: InterruptSignal) {
    super('cancelled', 'Interrupted');
    this.exitCode = interruptExitCode(signal);
  }
}

/** What was asked for: `spec: debian-bookworm | 2 vcpu | 1024 MiB`; nothing when all is left to the defaults. */
export function specLine(params: VmCreateParams): string | undefined {
  const parts = [
    params.name, params.image, params.kernel && `kernel ${params.kernel}`, params.driver, params.vcpu !== undefined && `${params.vcpu} vcpu`,
    params.memoryMiB !== undefined && `${params.memoryMiB} MiB`, params.init && `init ${params.init}`,
  ].filter((part) => typeof part === 'string');
  return parts.length === 0 ? undefined : `spec: ${parts.join(' | ')}`;
}
/** What it became: `devbox ready in 3.2 s (1 vcpu | 512 MiB | debian-bookworm)`. */
export const readyLine = (vm: VmView, elapsedMs: number): string =>
  `${vm.name} ready in ${formatDuration(elapsedMs)} (${vm.vcpu} vcpu | ${vm.memoryMiB} MiB | ${vm.image})`;

export interface CreateCall { readonly io: Io; readonly interrupts: Interrupts; readonly quiet: boolean }

/** Calls vm.create. @throws Interrupted; whatever the daemon says */
export async function createVm(daemon: Daemon, params: VmCreateParams, call: CreateCall): Promise<VmView> {
  const { io, quiet } = call;
  const startedAt = performance.now();
  const spec = specLine(params);
  if (!quiet && spec !== undefined) io.err(`${dim(spec, io)}\n`);
  const progress = createProgress(io, { quiet, ...(io.isTty(2) ? { width: process.stderr.columns } : {}) });
  const abort = new AbortController();
  let interrupted: InterruptSignal | undefined;
  call.interrupts.handle((signal) => {
    if (interrupted !== undefined || signal === 'HUP') process.exit(interruptExitCode(signal));
    interrupted = signal;
    progress.end();
    abort.abort();
  });
  try {
    const { vm } = await daemon.call('vm.create', params, { signal: abort.signal, onProgress: (notice) => progress.show(notice) });
    progress.end();
    if (!quiet && params.start !== false) io.err(`${dim(readyLine(vm, performance.now() - startedAt), io)}\n`);
    return vm;
  } catch (error) {
    progress.end();
    throw interrupted === undefined ? error : new Interrupted(interrupted);
  }
}

const dim = (text: string, io: Io): string => (hasColor(io, 2) ? `\u001b[2m${text}\u001b[0m` : text);
