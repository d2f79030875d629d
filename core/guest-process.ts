// Bridges a guest process to a client's frame stream, with back-pressure both ways.
import type { Readable } from 'node:stream';
import { frameKind } from './api.ts';
import type { GuestProcess } from './capabilities.ts';
import type { FrameStream, Logger } from './plugin-api.ts';
import { toErrorBody } from './rpc/wire-error.ts';

/** Frames hold up to 1 MiB; smaller ones let other frames of the stream in between. */
const chunkBytes = 64 * 1024;

export interface ServeGuestProcess {
  /** Begins the process once the client has attached; the signal fires when the client is gone. */
  readonly start: (signal: AbortSignal) => Promise<GuestProcess>;
  readonly opId: string;
  readonly log: Logger;
}

/**
 * Serves one guest process to its end over a stream that a ticket offered (frames of `frameKind`, core/api.ts). A client that goes
 * away hangs the process up. Never rejects: what goes wrong is told to the client as the last frame.
 */
export async function serveGuestProcess(stream: FrameStream, { start, opId, log }: ServeGuestProcess): Promise<void> {
  const gone = new AbortController();
  stream.onClose(() => gone.abort(new Error('the client is gone')));
  try {
    const process = await start(gone.signal);
    if (gone.signal.aborted) return process.hangup();
    gone.signal.addEventListener('abort', () => process.hangup(), { once: true });
    const exit = await bridge(process, stream, log);
    await sendJson(stream, exit);
  } catch (error) {
    if (gone.signal.aborted) return;
    log.info({ err: error }, 'a guest process could not be served');
    const { data, message } = toErrorBody(error, opId);
    await sendJson(stream, { error: { ...data, message } }).catch(ignoreClosed);
  } finally {
    stream.end();
  }
}

async function bridge(process: GuestProcess, stream: FrameStream, log: Logger): Promise<unknown> {
  // The guest may end without reading its stdin: writes then fail, which is its right.
  process.stdin.on('error', (error) => log.debug({ err: error }, 'stdin of the guest process ended'));
  const room = new Room(process);
  stream.onFrame((kind, payload) => toGuest(process, room, { kind, payload }));
  const [exit] = await Promise.all([
    process.exit, pump(process.stdout, stream, frameKind.stdout), pump(process.stderr, stream, frameKind.stderr),
  ]);
  return exit;
}

/** Resolves when the guest can take more, which holds back the client meanwhile. */
async function toGuest(process: GuestProcess, room: Room, { kind, payload }: Frame): Promise<void> {
  switch (kind) {
    case frameKind.stdin:
      if (process.stdin.destroyed || process.stdin.writableEnded) return;
      if (payload.length === 0) process.stdin.end();
      else if (!process.stdin.write(payload)) await room.wait();
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

interface Frame { readonly kind: number; readonly payload: Buffer }

/** Room in the stdin of a process. One that ends, or closes its stdin, never drains it. Its listeners are there once, not once a frame. */
class Room {
  #wake: (() => void) | undefined;
  #over = false;

  constructor(process: GuestProcess) {
    const end = (): void => {
      this.#over = true;
      this.#wake?.();
    };
    process.stdin.on('drain', () => this.#wake?.()).on('close', end);
    process.exit.then(end, end);
  }

  /** To be called when a write said that there is none; frames come one after another. */
  wait(): Promise<void> {
    if (this.#over) return Promise.resolve();
    return new Promise((resolve) => { this.#wake = resolve; });
  }
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
