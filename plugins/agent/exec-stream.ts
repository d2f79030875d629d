// A command in the guest as a stream of a session.
import { constants } from 'node:os';
import { badRequest, cancelled } from '../../core/plugin-api.ts';
import type { BangerError, GuestExecRequest, GuestExit, GuestProcess } from '../../core/plugin-api.ts';
import { onAbort, refusal, requireLength, requireProtocol2, StreamSender } from './requests.ts';
import type { Opening } from './requests.ts';
import type { AgentSession, SessionStream } from './session.ts';
import { ChannelReader, ChannelWriter } from './streams.ts';
import { encodeTlv, frameType, ProtocolError, tag, u16, u32 } from './wire.ts';
import type { Frame, TlvEntry } from './wire.ts';

function signalName(number: number): string {
  const found = Object.entries(constants.signals).find(([, value]) => value === number);
  return found === undefined ? `RT${number}` : found[0].replace(/^SIG/, '');
}

function signalNumber(name: string): number {
  const number = (constants.signals as Readonly<Record<string, number | undefined>>)[`SIG${name}`];
  if (number === undefined) throw badRequest([{ path: 'signal', message: `unknown signal ${name}` }]);
  return number;
}

function sizeBytes(cols: number, rows: number): Buffer {
  return Buffer.concat([u16(cols & 0xffff), u16(rows & 0xffff)]);
}

/** What kind of command it is, as an agent of protocol 2 knows them. Without any: words run as they are, or the login shell for none. */
function kindEntries({ command, line, login, builtin, bulk }: GuestExecRequest): TlvEntry[] {
  const yes = Buffer.from([1]);
  const hasWords = command.length > 0;
  if (line !== undefined && (hasWords || builtin === true)) throw badRequest([{ path: 'line', message: 'stands in place of the command' }]);
  if (builtin === true && (!hasWords || login === true)) throw badRequest([{ path: 'builtin', message: 'needs a command, and no login shell' }]);
  if (bulk !== undefined && builtin !== true) throw badRequest([{ path: 'bulk', message: 'is for programs of the agent' }]);
  if (builtin === true) return [[tag.builtin, yes], ...(bulk === undefined ? [] : [[tag.bulk, Buffer.from([bulk === 'stdin' ? 0 : 1])] satisfies TlvEntry])];
  const entries: TlvEntry[] = line === undefined ? [] : [[tag.line, line]];
  // For no words at all it is the login shell anyway.
  if (login === true && (hasWords || line !== undefined)) entries.push([tag.login, yes]);
  return entries;
}

/** @throws bad_request for a NUL anywhere and for more than a frame holds. */
function execPayload(request: GuestExecRequest, kind: readonly TlvEntry[]): Buffer {
  const entries: TlvEntry[] = [...kind, ...request.command.map((word): TlvEntry => [tag.arg, word])];
  for (const [name, value] of Object.entries(request.env)) entries.push([tag.env, `${name}=${value}`]);
  if (request.cwd !== undefined) entries.push([tag.cwd, request.cwd]);
  if (request.user !== undefined) entries.push([tag.user, request.user]);
  if (entries.some(([, value]) => typeof value === 'string' && value.includes('\0'))) throw badRequest([{ path: 'command', message: 'holds a NUL character' }]);
  if (request.tty !== undefined) entries.push([tag.tty, Buffer.concat([sizeBytes(request.tty.cols, request.tty.rows), Buffer.from(request.tty.term.replaceAll('\0', ''))])]);
  entries.push([tag.stdin, Buffer.from([request.stdin ? 1 : 0])]);
  const payload = encodeTlv(entries);
  if (payload === undefined) throw badRequest([{ path: 'command', message: 'command and environment are longer than 64 KiB' }]);
  return payload;
}

class ExecStream implements SessionStream {
  readonly opened = Promise.withResolvers<GuestProcess>();
  readonly #exit = Promise.withResolvers<GuestExit>();
  readonly #sender: StreamSender;
  readonly #stdin: ChannelWriter;
  readonly #outputs: readonly [ChannelReader, ChannelReader];
  readonly #request: GuestExecRequest;
  readonly #subject: string;
  readonly #stopWaiting: () => void;

  constructor(sender: StreamSender, request: GuestExecRequest, opening: Opening) {
    this.#sender = sender;
    this.#request = request;
    this.#subject = opening.subject;
    this.#stdin = new ChannelWriter(sender);
    this.#outputs = [new ChannelReader(sender, 0), new ChannelReader(sender, 1)];
    // A caller that left must not bring the daemon down.
    this.#exit.promise.catch(() => undefined);
    this.#stopWaiting = onAbort(opening.signal, () => {
      sender.giveUp();
      this.opened.reject(cancelled(`command in ${opening.subject}`));
    });
  }

  onFrame(frame: Frame): boolean {
    switch (frame.type) {
      case frameType.opened:
        this.#onOpened();
        return true;
      case frameType.failed:
        this.#stopWaiting();
        this.opened.reject(refusal(frame.payload, `cannot run the command in ${this.#subject}`));
        return false;
      case frameType.data:
        this.#output(frame).receive(frame.payload);
        return true;
      case frameType.eof:
        this.#output(frame).end();
        return true;
      case frameType.window:
        this.#stdin.grant(requireLength(frame, 4).readUInt32LE(0));
        return true;
      case frameType.exit:
        this.#onExit(requireLength(frame, 8));
        return false;
      default:
        return true;
    }
  }

  onLost(error: BangerError): void {
    this.#stopWaiting();
    this.opened.reject(error);
    this.#exit.reject(error);
    // What came may still be read, but half an output must not look whole: there is no end.
    this.#stdin.close();
    for (const output of this.#outputs) output.destroy();
  }

  #onOpened(): void {
    this.#stopWaiting();
    if (this.#request.tty !== undefined) this.#outputs[1].end();
    const sender = this.#sender;
    this.opened.resolve({
      stdin: this.#stdin, stdout: this.#outputs[0], stderr: this.#outputs[1], exit: this.#exit.promise,
      resize: (cols, rows) => sender.send(frameType.resize, sizeBytes(cols, rows)),
      signal: (name) => sender.send(frameType.signal, u32(signalNumber(name))),
      hangup: () => sender.hangUp(),
    });
  }

  #onExit(payload: Buffer): void {
    this.#stdin.close();
    for (const output of this.#outputs) output.end();
    const value = payload.readUInt32LE(4);
    this.#exit.resolve(payload.readUInt32LE(0) === 0 ? { code: value & 0xff } : { signal: signalName(value), number: value });
  }

  #output(frame: Frame): ChannelReader {
    const output = this.#outputs[frame.flags];
    if (output === undefined) throw new ProtocolError(`There is no channel ${frame.flags}`);
    return output;
  }
}

/** Starts a command. @throws not_found (user); operation_failed; cancelled; bad_request; unsupported by an older agent */
export async function openExec(session: AgentSession, request: GuestExecRequest, opening: Opening): Promise<GuestProcess> {
  const kind = kindEntries(request);
  const payload = execPayload(request, kind);
  if (kind.length > 0) requireProtocol2(session, opening.subject, 'run shell lines and programs of its own');
  if (opening.signal.aborted) throw cancelled(`command in ${opening.subject}`);
  const sender = new StreamSender(session);
  const stream = new ExecStream(sender, request, opening);
  sender.id = session.open(stream, frameType.exec, payload);
  return stream.opened.promise;
}
