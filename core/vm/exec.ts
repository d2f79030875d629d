// Runs a command in a guest and bridges it to the client's frame stream, with back-pressure both ways.
import { once } from 'node:events';
import type { Readable } from 'node:stream';
import { frameKind } from '../api.ts';
import type { VmExecParams, VmExecResult } from '../api.ts';
import type { GuestExecRequest, GuestProcess } from '../capabilities.ts';
import { notRunning } from '../errors.ts';
import { recoveryHolder } from '../lifecycle/recover.ts';
import type { CallContext, FrameStream, Logger, Vm } from '../plugin-api.ts';
import { toErrorBody } from '../rpc/wire-error.ts';
import type { VmContext } from './context.ts';
import { resolveRef } from './ref.ts';
import { viewOf } from './view.ts';

/** Frames hold up to 1 MiB; smaller ones let other frames of the stream in between. */
const chunkBytes = 64 * 1024;

interface Session { readonly vm: Vm; readonly request: GuestExecRequest; readonly opId: string; readonly log: Logger }

/**
 * Offers a stream; the command begins when the client has attached, so that nothing runs unattended.
 *
 * @throws not_running
 */
export function execVm(ctx: VmContext, params: VmExecParams, call: CallContext): VmExecResult {
  const record = resolveRef(ctx.store, params.ref);
  const { state } = viewOf(ctx, record);
  if (state !== 'running') throw notRunning(record.name, state);
  const session: Session = {
    vm: ctx.toVm(record), opId: call.opId, log: ctx.log.child({ opId: call.opId, vm: record.name }),
    request: {
      command: params.command, stdin: params.stdin, env: { ...record.spec.env, ...params.env },
      ...(params.cwd === undefined ? {} : { cwd: params.cwd }),
      ...(params.user === undefined ? {} : { user: params.user }),
      ...(params.tty === undefined ? {} : { tty: params.tty }),
    },
  };
  const ticket = call.peer.offerStream(
    (stream) => { void serve(ctx, session, stream); },
    () => session.log.debug('the client of an exec never attached'));
  return { ticket };
}

/** Serves one exec to its end. Never rejects: what goes wrong is told to the client as the last frame. */
async function serve(ctx: VmContext, session: Session, stream: FrameStream): Promise<void> {
  const gone = new AbortController();
  stream.onClose(() => gone.abort(new Error('the client is gone')));
  try {
    await adopted(ctx, session.vm, gone.signal);
    const process = await ctx.agent().exec(session.vm, session.request, gone.signal);
    if (gone.signal.aborted) return process.hangup();
    gone.signal.addEventListener('abort', () => process.hangup(), { once: true });
    const exit = await bridge(process, stream, session.log);
    await sendJson(stream, exit);
  } catch (error) {
    if (gone.signal.aborted) return;
    session.log.info({ err: error }, 'exec failed');
    const { data, message } = toErrorBody(error, session.opId);
    await sendJson(stream, { error: { ...data, message } }).catch(ignoreClosed);
  } finally {
    stream.end();
  }
}

/** A daemon that has just come up listens before it has its sessions again; recovery of a VM is bounded by its steps' limits. */
async function adopted(ctx: VmContext, vm: Vm, signal: AbortSignal): Promise<void> {
  if (ctx.locks.holder(vm.id) !== recoveryHolder) return;
  await ctx.locks.run(vm.id, { holder: 'vm.exec', signal, subject: `VM ${vm.name}` }, () => undefined);
}

async function bridge(process: GuestProcess, stream: FrameStream, log: Logger): Promise<unknown> {
  // The guest may end without reading its stdin: writes then fail, which is its right.
  process.stdin.on('error', (error) => log.debug({ err: error }, 'stdin of the guest process ended'));
  stream.onFrame((kind, payload) => toGuest(process, kind, payload));
  const [exit] = await Promise.all([
    process.exit, pump(process.stdout, stream, frameKind.stdout), pump(process.stderr, stream, frameKind.stderr),
  ]);
  return exit;
}

/** Resolves when the guest can take more, which holds back the client meanwhile. */
async function toGuest(process: GuestProcess, kind: number, payload: Buffer): Promise<void> {
  switch (kind) {
    case frameKind.stdin:
      if (process.stdin.destroyed || process.stdin.writableEnded) return;
      if (payload.length === 0) process.stdin.end();
      else if (!process.stdin.write(payload)) await drained(process);
      return;
    case frameKind.resize: {
      const size = parseSize(payload);
      if (size !== undefined) process.resize(size.cols, size.rows);
      return;
    }
    case frameKind.signal: {
      const name = payload.toString('latin1');
      if (/^[A-Z0-9+-]{1,12}$/.test(name)) process.signal(name);
      return;
    }
    default:
      // A later minor of the protocol may have kinds that this one does not know.
  }
}

/** A process that ends, or closes its stdin, never drains it. */
async function drained(process: GuestProcess): Promise<void> {
  const waiting = new AbortController();
  const { signal } = waiting;
  const { stdin } = process;
  await Promise.race([once(stdin, 'drain', { signal }), once(stdin, 'close', { signal }), process.exit]).catch(ignoreClosed);
  waiting.abort();
}

async function pump(from: Readable, stream: FrameStream, kind: number): Promise<void> {
  for await (const data of from as AsyncIterable<Buffer>) {
    for (let at = 0; at < data.length; at += chunkBytes) await stream.send(kind, data.subarray(at, at + chunkBytes));
  }
}

function parseSize(payload: Buffer): { readonly cols: number; readonly rows: number } | undefined {
  try {
    const { cols, rows } = JSON.parse(payload.toString('utf8')) as { cols?: unknown; rows?: unknown };
    const isSize = (value: unknown): value is number => typeof value === 'number' && Number.isInteger(value) && value > 0 && value < 65_536;
    return isSize(cols) && isSize(rows) ? { cols, rows } : undefined;
  } catch {
    // Not JSON: a resize that says nothing changes nothing.
    return undefined;
  }
}

async function sendJson(stream: FrameStream, value: unknown): Promise<void> {
  await stream.send(frameKind.exit, Buffer.from(JSON.stringify(value)));
}

function ignoreClosed(): void {
  // The stream or the guest's stdin is closed: there is nobody left to tell.
}
