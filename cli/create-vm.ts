// Creating a VM with its stages shown.
import type { VmCreateParams, VmView } from '../core/api.ts';
import type { Daemon } from './daemon-link.ts';
import type { Io } from './io.ts';
import { showOperation, type OperationCall } from './operation.ts';
import { paint } from './render/color.ts';
import { formatDuration } from './render/units.ts';

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

/** Calls vm.create. @throws Interrupted; whatever the daemon says */
export async function createVm(daemon: Daemon, params: VmCreateParams, call: OperationCall): Promise<VmView> {
  const { io, quiet } = call;
  const startedAt = performance.now();
  const spec = specLine(params);
  if (!quiet && spec !== undefined) io.err(`${dim(spec, io)}\n`);
  const { vm } = await showOperation(call, (watch) => daemon.call('vm.create', params, watch));
  if (!quiet && params.start !== false) io.err(`${dim(readyLine(vm, performance.now() - startedAt), io)}\n`);
  return vm;
}

const dim = (text: string, io: Io): string => paint(text, 'dim', { io, fd: 2 });
