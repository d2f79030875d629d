// One command on every running VM at once. Lines come whole and say whose they are; the exit code does not depend on who was first.
import type { VmView } from '../core/api.ts';
import { BangerError } from '../core/errors.ts';
import type { CommandContext } from './command.ts';
import type { Command } from './commands/vm-exec.ts';
import type { Daemon } from './daemon-link.ts';
import { ownFailureExitCode, refusedExitCode, renderError } from './errors.ts';
import { Interrupts, interruptExitCode, type InterruptHandler, type InterruptSignal } from './interrupts.ts';
import { BrokenPipe } from './io.ts';
import { processOutput, type Output } from './output.ts';
import { runSession } from './session.ts';

/** VMs that run the command at the same time. */
const maxAtOnce = 16;
/** A longer line is printed in pieces. */
export const maxLineBytes = 64 * 1024;

interface Run {
  readonly daemon: Daemon;
  readonly command: Command;
  readonly detach: boolean;
  readonly stdout: Output;
  readonly stderr: Output;
  /** Who is told of Ctrl-C, by VM id. */
  readonly handlers: Map<string, InterruptHandler>;
  interrupted: InterruptSignal | undefined;
}
type Target = Pick<VmView, 'id' | 'name'>;

/** @throws not_running when no VM runs; BrokenPipe */
export async function execAll({ daemon, flags, io }: CommandContext, command: Command): Promise<number> {
  const link = await daemon();
  const { vms } = await link.call('vm.list', {}, { read: true });
  const targets = vms.filter((vm) => vm.state === 'running');
  const paused = vms.filter((vm) => vm.state === 'paused').map(({ name }) => name);
  if (targets.length === 0) throw new BangerError('not_running', paused.length === 0 ? 'No VM is running' : 'No VM is running but paused ones', { hint: 'banger vm list shows what there is' });
  if (paused.length > 0 && !flags.on('quiet')) io.err(`banger: left out, as they are paused: ${paused.join(', ')}\n`);
  const run: Run = {
    daemon: link, command, detach: flags.on('detach'), stdout: processOutput(1), stderr: processOutput(2), handlers: new Map(), interrupted: undefined,
  };
  const interrupts = new Interrupts((signal) => {
    run.interrupted ??= signal;
    for (const handle of run.handlers.values()) handle(signal);
  });
  try {
    const codes = await inTurn(targets, (vm) => runOne(run, vm, (error) => renderError(error, io)));
    if (!flags.on('quiet')) io.err(summary(targets, codes));
    return codes.find((code) => code !== 0) ?? 0;
  } finally {
    interrupts.dispose();
  }
}

/** Results in the order of the items, however they end. */
async function inTurn<T, R>(items: readonly T[], work: (item: T) => Promise<R>): Promise<R[]> {
  const results: R[] = [];
  let next = 0;
  const worker = async (): Promise<void> => {
    for (let at = next++; at < items.length; at = next++) results[at] = await work(items[at]!);
  };
  await Promise.all(Array.from({ length: Math.min(maxAtOnce, items.length) }, worker));
  return results;
}

/** The command's exit code on one VM, 125 when it could not be run there. @throws BrokenPipe */
async function runOne(run: Run, vm: Target, render: (error: unknown) => string): Promise<number> {
  // Ctrl-C is for those that have not begun, too.
  if (run.interrupted !== undefined) return interruptExitCode(run.interrupted);
  const prefix = `${vm.name} | `;
  const stdout = new PrefixedLines(run.stdout, prefix);
  const stderr = new PrefixedLines(run.stderr, prefix);
  try {
    if (run.detach) {
      const { id } = await run.daemon.call('vm.exec.detach', { ...run.command, ref: vm.id });
      await stdout.write(Buffer.from(`${id}\n`));
      return 0;
    }
    const interrupts = { handle: (handler: InterruptHandler) => void run.handlers.set(vm.id, handler) };
    return await runSession(run.daemon, { ...run.command, ref: vm.id, stdin: false }, { streams: { stdout, stderr }, interrupts });
  } catch (error) {
    if (error instanceof BrokenPipe) throw error;
    // What the command wrote comes before what is said about its end.
    await stdout.end();
    await stderr.end();
    await stderr.write(Buffer.from(render(error)));
    return refusedExitCode(error) ?? ownFailureExitCode;
  } finally {
    run.handlers.delete(vm.id);
    await stdout.end();
    await stderr.end();
  }
}

function summary(targets: readonly Target[], codes: readonly number[]): string {
  const failed = targets.flatMap((vm, at) => (codes[at] === 0 ? [] : [`${vm.name}: ${codes[at] ?? ownFailureExitCode}`]));
  const shown = failed.length > 10 ? [...failed.slice(0, 10), `${failed.length - 10} more`] : failed;
  const rest = failed.length === 0 ? '' : `, ${failed.length} failed (${shown.join(', ')})`;
  return `banger: ran on ${targets.length} VM${targets.length === 1 ? '' : 's'}: ${targets.length - failed.length} succeeded${rest}\n`;
}

/** Hands on whole lines with a prefix; several lines of one chunk go out in one write, so that nothing comes between. */
export class PrefixedLines implements Output {
  readonly #out: Output;
  readonly #prefix: Buffer;
  #rest: Buffer = Buffer.alloc(0);

  constructor(out: Output, prefix: string) {
    this.#out = out;
    this.#prefix = Buffer.from(prefix);
  }

  async write(bytes: Uint8Array): Promise<void> {
    const data = Buffer.concat([this.#rest, bytes]);
    const parts: Buffer[] = [];
    let at = 0;
    for (;;) {
      const newline = data.indexOf(10, at);
      const end = newline === -1 ? data.length : newline;
      if (end - at > maxLineBytes) {
        parts.push(this.#prefix, data.subarray(at, at + maxLineBytes), Buffer.from('\n'));
        at += maxLineBytes;
      } else if (newline === -1) {
        break;
      } else {
        parts.push(this.#prefix, data.subarray(at, newline + 1));
        at = newline + 1;
      }
    }
    // A copy: what is left must not hold on to the whole chunk.
    this.#rest = Buffer.from(data.subarray(at));
    if (parts.length > 0) await this.#out.write(Buffer.concat(parts));
  }

  /** Ends a line that has no end. Does nothing when called again. */
  async end(): Promise<void> {
    if (this.#rest.length > 0) await this.write(Buffer.from('\n'));
  }
}
