// The workspace's part of `vm run`: into the new VM before the command, back out of it after.
import type { VmView, WorkspacePrepareParams, WorkspacePrepareResult } from '../../core/api.ts';
import { BangerError } from '../../core/errors.ts';
import type { Daemon } from '../daemon-link.ts';
import { renderError, withHint } from '../errors.ts';
import { Interrupted, type OperationCall } from '../operation.ts';
import { paint } from '../render/color.ts';
import { preparedLine, prepareWorkspace, shellWord } from './prepare.ts';
import { pulledLine, pullWork } from './pull.ts';

type Target = Pick<VmView, 'id' | 'name'>;

export interface PrepareFor {
  readonly vm: Target;
  readonly params: WorkspacePrepareParams;
  readonly shown: OperationCall;
  /** Deletes the VM when nothing comes of it; without, it stays and the error says so. */
  readonly remove: (() => Promise<void>) | undefined;
}

/** @throws what went wrong, once the VM is deleted or the error says that it still runs */
export async function prepareFor(daemon: Daemon, { vm, params, shown, remove }: PrepareFor): Promise<WorkspacePrepareResult> {
  const { io, quiet } = shown;
  try {
    const prepared = await prepareWorkspace(daemon, params, shown);
    if (!quiet) io.err(`${paint(preparedLine(prepared), 'dim', { io, fd: 2 })}\n`);
    return prepared.result;
  } catch (error) {
    if (remove) {
      await remove().catch((second: unknown) => io.err(renderError(second, io)));
      throw error;
    }
    const note = `${vm.name} still runs: banger vm workspace prepare ${vm.name} ${shellWord(params.path)}, or banger vm delete ${vm.name}`;
    if (!(error instanceof Interrupted)) throw withHint(error, note);
    if (!quiet) io.err(`banger: ${note}\n`);
    throw error;
  }
}

/** The command ran, and what it made is still in the VM only. */
export class WorkNotBack extends BangerError {
  readonly exitCode: number;
  constructor(cause: unknown, vm: Target) {
    const { code, message, hint, detail } = withHint(cause, `${vm.name} is kept with its work: banger vm workspace pull ${vm.name}`);
    super(code, message, { hint, detail, cause });
    this.exitCode = cause instanceof Interrupted ? cause.exitCode : 1;
  }
}

/** Pulls the work and says what came. `wholly`: the VM is about to go, so what stays in it is an error. @throws WorkNotBack */
export async function bringBack(daemon: Daemon, vm: Target, { shown, wholly }: { readonly shown: OperationCall; readonly wholly: boolean }): Promise<void> {
  try {
    const pulled = await pullWork(daemon, { ref: vm.id }, shown);
    if (!shown.quiet) shown.io.err(`banger: ${pulledLine(pulled, process.cwd())}\n`);
    const { leftBehind } = pulled.result;
    if (!wholly || leftBehind.length === 0) return;
    const more = leftBehind.length > 3 ? ` and ${leftBehind.length - 3} more` : '';
    throw new BangerError('operation_failed', `The work inside ${leftBehind.slice(0, 3).join(', ')}${more} is in the guest only, as these are repositories of their own`);
  } catch (error) {
    throw new WorkNotBack(error, vm);
  }
}
