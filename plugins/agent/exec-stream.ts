// Exec, dial and shutdown as streams of a session.
import { constants } from 'node:os';
import type { Duplex } from 'node:stream';
import { badRequest, BangerError, cancelled, operationFailed } from '../../core/plugin-api.ts';
import type { GuestExecRequest, GuestExit, GuestProcess } from '../../core/plugin-api.ts';
import { printable } from './session.ts';
import type { AgentSession, SessionStream } from './session.ts';
import { ChannelReader, ChannelWriter, DialStream } from './streams.ts';
import { decodeTlv, encodeTlv, frameType, ProtocolError, tag, u16, u32 } from './wire.ts';
import type { Frame, TlvEntry } from './wire.ts';

const empty = Buffer.alloc(0);

/** What a stream's opening waits for, and how it is given up. */
interface Opening { readonly subject: string; readonly signal: AbortSignal }

function failure(payload: Buffer, subject: string): BangerError {
  const entries = decodeTlv(payload);
  const errno = entries.find((entry) => entry.tag === tag.errno)?.value;
  const message = entries.find((entry) => entry.tag === tag.message)?.value.toString('utf8').slice(0, 256);
  const code = errno?.length === 4 && errno.readUInt32LE(0) === constants.errno.ENOENT ? 'not_found' : 'operation_failed';
  return new BangerError(code, `${subject}: ${printable(message ?? 'refused by the guest')}`);
}

function requireLength(frame: Frame, length: number): Buffer {
  if (frame.payload.length !== length) throw new ProtocolError(`A frame of type ${frame.type} has ${frame.payload.length} bytes`);
  return frame.payload;
}

function signalName(number: number): string {
  const found = Object.entries(constants.signals).find(([, value]) => value === number);
  return found === undefined ? `RT${number}` : found[0].replace(/^SIG/, '');
}

function signalNumber(name: string): number {
  const number = (constants.signals as Readonly<Record<string, number | undefined>>)[`SIG${name}`];
  if (number === undefined) throw badRequest([{ path: 'signal', message: `unknown signal ${name}` }]);
  return number;
}

function execPayload(request: GuestExecRequest): Buffer {
  const entries: TlvEntry[] = request.command.map((word): TlvEntry => [tag.arg, word]);
  for (const [name, value] of Object.entries(request.env)) entries.push([tag.env, `${name}=${value}`]);
  if (request.cwd !== undefined) entries.push([tag.cwd, request.cwd]);
  if (request.user !== undefined) entries.push([tag.user, request.user]);
  if (request.tty !== undefined) entries.push([tag.tty, Buffer.concat([u16(request.tty.cols & 0xffff), u16(request.tty.rows & 0xffff), Buffer.from(request.tty.term)])]);
  entries.push([tag.stdin, Buffer.from([request.stdin ? 1 : 0])]);
  const texts = [...request.command, ...Object.entries(request.env).flat(), request.cwd ?? '', request.user ?? '', request.tty?.term ?? ''];
  if (texts.some((text) => text.includes('\0'))) throw badRequest([{ path: 'command', message: 'holds a NUL character' }]);
  const payload = encodeTlv(entries);
  if (payload === undefined) throw badRequest([{ path: 'command', message: 'command and environment are longer than 64 KiB' }]);
  return payload;
}

/** Runs `give` when the signal fires before `settled` was called. */
function onAbort(signal: AbortSignal, give: () => void): () => void {
  signal.addEventListener('abort', give, { once: true });
  return () => signal.removeEventListener('abort', give);
}

/** Starts a command. @throws not_found (user); operation_failed; cancelled; bad_request */
export function openExec(session: AgentSession, request: GuestExecRequest, opening: Opening): Promise<GuestProcess> {
  const payload = execPayload(request);
  const { promise, resolve, reject } = Promise.withResolvers<GuestProcess>();
  const exit = Promise.withResolvers<GuestExit>();
  // A caller that left must not bring the daemon down.
  exit.promise.catch(() => undefined);
  let id = 0;
  const send = (type: number, bytes: Uint8Array = empty, flags = 0): void => session.send(type, id, bytes, flags);
  const port = {
    data: (bytes: Uint8Array) => send(frameType.data, bytes),
    eof: () => send(frameType.eof),
    window: (channel: number, bytes: number) => send(frameType.window, u32(bytes), channel),
  };
  const stdin = new ChannelWriter(port);
  const outputs = [new ChannelReader(port, 0), new ChannelReader(port, 1)] as const;
  const finish = (): void => {
    stdin.close();
    for (const output of outputs) output.end();
  };
  const process: GuestProcess = {
    stdin, stdout: outputs[0], stderr: outputs[1], exit: exit.promise,
    resize: (cols, rows) => send(frameType.resize, Buffer.concat([u16(cols & 0xffff), u16(rows & 0xffff)])),
    signal: (name) => send(frameType.signal, u32(signalNumber(name))),
    hangup: () => send(frameType.hangup),
  };
  const stop = onAbort(opening.signal, () => {
    send(frameType.close);
    session.forget(id);
    reject(cancelled(`command in ${opening.subject}`));
  });
  const handlers: Readonly<Record<number, (frame: Frame) => boolean>> = {
    [frameType.opened]: () => {
      stop();
      if (request.tty !== undefined) outputs[1].end();
      resolve(process);
      return true;
    },
    [frameType.failed]: (frame) => {
      stop();
      reject(failure(frame.payload, `cannot run the command in ${opening.subject}`));
      finish();
      return false;
    },
    [frameType.data]: (frame) => {
      outputFor(outputs, frame).receive(frame.payload);
      return true;
    },
    [frameType.eof]: (frame) => {
      outputFor(outputs, frame).end();
      return true;
    },
    [frameType.window]: (frame) => {
      stdin.grant(requireLength(frame, 4).readUInt32LE(0));
      return true;
    },
    [frameType.exit]: (frame) => {
      const value = requireLength(frame, 8).readUInt32LE(4);
      finish();
      exit.resolve(frame.payload.readUInt32LE(0) === 0 ? { code: value & 0xff } : { signal: signalName(value), number: value });
      return false;
    },
  };
  const stream: SessionStream = {
    onFrame: (frame) => handlers[frame.type]?.(frame) ?? true,
    onLost: (error) => {
      stop();
      reject(error);
      exit.reject(error);
      // What came may still be read; a half output must not look whole, so there is no end.
      stdin.close();
      for (const output of outputs) output.destroy();
    },
  };
  if (opening.signal.aborted) return Promise.reject(cancelled(`command in ${opening.subject}`));
  id = session.open(stream, frameType.exec, payload);
  return promise;
}

function outputFor(outputs: readonly [ChannelReader, ChannelReader], frame: Frame): ChannelReader {
  if (frame.flags > 1) throw new ProtocolError(`There is no channel ${frame.flags}`);
  return frame.flags === 0 ? outputs[0] : outputs[1];
}

/** Connects inside the guest. @throws operation_failed; cancelled */
export function openDial(session: AgentSession, target: { readonly host: string; readonly port: number }, opening: Opening): Promise<Duplex> {
  const payload = encodeTlv([[tag.host, target.host], [tag.port, u16(target.port & 0xffff)]]);
  if (payload === undefined || Buffer.byteLength(target.host) > 63 || target.host.includes('\0')) throw badRequest([{ path: 'host', message: 'not an address' }]);
  if (opening.signal.aborted) return Promise.reject(cancelled(`connection to ${target.host}:${target.port}`));
  const { promise, resolve, reject } = Promise.withResolvers<Duplex>();
  let id = 0;
  const send = (type: number, bytes: Uint8Array = empty, flags = 0): void => session.send(type, id, bytes, flags);
  const duplex = new DialStream({
    data: (bytes) => send(frameType.data, bytes),
    eof: () => send(frameType.eof),
    window: (channel, bytes) => send(frameType.window, u32(bytes), channel),
    close: () => {
      send(frameType.close);
      session.forget(id);
    },
  });
  // An owner that forgot to listen must not bring the daemon down.
  duplex.on('error', () => undefined);
  const stop = onAbort(opening.signal, () => {
    reject(cancelled(`connection to ${target.host}:${target.port}`));
    duplex.destroy();
  });
  const fail = (error: BangerError): void => {
    stop();
    reject(error);
    duplex.gone(error);
  };
  const where = `${target.host}:${target.port} in ${opening.subject}`;
  const handlers: Readonly<Record<number, (frame: Frame) => boolean>> = {
    [frameType.opened]: () => {
      stop();
      resolve(duplex);
      return true;
    },
    [frameType.failed]: (frame) => {
      fail(failure(frame.payload, `cannot connect to ${where}`));
      return false;
    },
    [frameType.data]: (frame) => {
      duplex.receive(frame.payload);
      return true;
    },
    [frameType.eof]: () => {
      duplex.endReading();
      return true;
    },
    [frameType.window]: (frame) => {
      duplex.grant(requireLength(frame, 4).readUInt32LE(0));
      return true;
    },
    [frameType.close]: (frame) => {
      const reason = requireLength(frame, 4).readUInt32LE(0);
      duplex.gone(reason === 0 ? undefined : operationFailed(`connection to ${where} was reset`));
      return false;
    },
  };
  id = session.open({ onFrame: (frame) => handlers[frame.type]?.(frame) ?? true, onLost: fail }, frameType.dial, payload);
  return promise;
}

/** Resolves when the agent has acknowledged. @throws operation_failed; cancelled */
export function requestShutdown(session: AgentSession, how: 'poweroff' | 'reboot', opening: Opening): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  if (opening.signal.aborted) return Promise.reject(cancelled(`shutdown of ${opening.subject}`));
  const stop = onAbort(opening.signal, () => {
    session.forget(id);
    reject(cancelled(`shutdown of ${opening.subject}`));
  });
  const stream: SessionStream = {
    onFrame: (frame) => {
      if (frame.type !== frameType.shutdownAck) return true;
      stop();
      if (requireLength(frame, 4).readUInt32LE(0) === 0) resolve();
      else reject(operationFailed(`the guest agent of ${opening.subject} refused to ${how}`));
      return false;
    },
    onLost: (error) => {
      stop();
      reject(error);
    },
  };
  const id = session.open(stream, frameType.shutdown, Buffer.from([how === 'poweroff' ? 1 : 2]));
  return promise;
}
