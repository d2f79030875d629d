// A scripted daemon for the CLI's tests: a unix socket, one JSON document a line, framed streams behind tickets. Made from the wire's
// description, not from the daemon's code.
import { createServer, type Server, type Socket } from 'node:net';
import { chmodSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import type { VmView } from '../../core/api.ts';

export interface FakeCall { readonly method: string; readonly params: Record<string, unknown>; progress(stage: string, detail?: string): void; readonly cancelled: Promise<void> }
export interface FakeStream {
  send(kind: number, payload?: Uint8Array | string): Promise<void>;
  exit(value: object): void;
  /** Frames of the client, one by one; ends with the connection. */
  frames: AsyncIterable<{ readonly kind: number; readonly payload: Buffer }>;
  readonly closed: Promise<void>;
  destroy(): void;
}
export type Answer = (call: FakeCall) => unknown;
export interface FakeOptions {
  readonly methods?: Readonly<Record<string, Answer>>;
  /** The command in the guest. */
  readonly exec?: (stream: FakeStream, params: Record<string, unknown>) => Promise<void> | void;
}
/** Thrown by an answer: becomes an error on the wire. */
export class FakeError extends Error {
  readonly code: string;
  readonly hint: string | undefined;
  readonly detail: object | undefined;
  constructor(code: string, message: string, hint?: string, detail?: object) {
    super(message);
    this.code = code;
    this.hint = hint;
    this.detail = detail;
  }
}

export const fakeVm = (id: string, name: string, extra: Partial<VmView> = {}): VmView => ({
  id, name, state: 'running', image: 'debian-bookworm', imageId: 'sha256:1', kernel: 'cloud', driver: 'fake', vcpu: 1, memoryMiB: 512, init: 'agent',
  createdAt: '2026-01-01T00:00:00.000Z', reboots: 0, sections: {}, ...extra,
});

export class FakeDaemon {
  readonly dir: string;
  readonly socket: string;
  readonly env: NodeJS.ProcessEnv;
  readonly calls: { readonly method: string; readonly params: Record<string, unknown> }[] = [];
  vms: VmView[] = [fakeVm('aaaaaaaaaaaa', 'devbox'), fakeVm('abbbbbbbbbbb', 'builder', { state: 'stopped' }), fakeVm('cccccccccccc', 'devil')];
  hello = { protocol: '1.0', build: 'dev', version: '0.1.0', pid: process.pid, idle: true };
  options: FakeOptions = {};
  readonly #tickets = new Map<string, Record<string, unknown>>();
  readonly #sockets = new Set<Socket>();
  #server: Server | undefined;

  constructor(dir: string = mkdtempSync(join(tmpdir(), 'banger-cli-'))) {
    this.dir = dir;
    this.socket = join(dir, 'state', 'banger', 'bangerd.sock');
    this.env = {
      PATH: process.env['PATH'], HOME: dir, TERM: 'xterm',
      XDG_STATE_HOME: join(dir, 'state'), XDG_CACHE_HOME: join(dir, 'cache'), XDG_CONFIG_HOME: join(dir, 'config'),
    };
  }

  /** @throws EADDRINUSE when another one listens there */
  async listen(): Promise<this> {
    mkdirSync(dirname(this.socket), { recursive: true });
    this.#server = createServer((socket) => this.#serve(socket));
    await new Promise<void>((resolve, reject) => this.#server!.once('error', reject).listen(this.socket, resolve));
    chmodSync(this.socket, 0o600);
    return this;
  }
  async close(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    await new Promise<void>((resolve) => (this.#server ? this.#server.close(() => resolve()) : resolve()));
  }
  async dispose(): Promise<void> {
    await this.close();
    rmSync(this.dir, { recursive: true, force: true });
  }
  called(method: string): Record<string, unknown>[] {
    return this.calls.filter((call) => call.method === method).map((call) => call.params);
  }

  #serve(socket: Socket): void {
    this.#sockets.add(socket);
    socket.on('close', () => this.#sockets.delete(socket));
    socket.on('error', () => undefined);
    const cancels = new Map<number, () => void>();
    let rest = Buffer.alloc(0);
    const onData = (chunk: Buffer): void => {
      rest = Buffer.concat([rest, chunk]);
      for (let end = rest.indexOf(10); end !== -1; end = rest.indexOf(10)) {
        const message = JSON.parse(rest.subarray(0, end).toString()) as { id?: number; method?: string; params?: Record<string, unknown>; attach?: string };
        rest = rest.subarray(end + 1);
        if (message.attach !== undefined) {
          socket.off('data', onData);
          void this.options.exec?.(openStream(socket, rest), this.#tickets.get(message.attach) ?? {});
          return;
        }
        if (message.method === 'rpc.cancel') cancels.get(message.params!['id'] as number)?.();
        else if (message.id !== undefined) void this.#answer(socket, message as { id: number; method: string; params: Record<string, unknown> }, cancels);
      }
    };
    socket.on('data', onData);
  }

  async #answer(socket: Socket, { id, method, params }: { id: number; method: string; params: Record<string, unknown> }, cancels: Map<number, () => void>): Promise<void> {
    const send = (message: object): void => void socket.write(`${JSON.stringify({ jsonrpc: '2.0', ...message })}\n`);
    const cancelled = new Promise<void>((resolve) => cancels.set(id, resolve));
    this.calls.push({ method, params });
    try {
      const call: FakeCall = { method, params, cancelled, progress: (stage, detail) => send({ method: 'rpc.progress', params: { id, stage, detail, opId: 'op-fake01' } }) };
      send({ id, result: await (this.options.methods?.[method] ?? this.#builtin(method))(call) });
    } catch (error) {
      const fake = error instanceof FakeError ? error : new FakeError('internal', String(error));
      send({ id, error: { code: -32000, message: fake.message, data: { code: fake.code, opId: 'op-fake01', hint: fake.hint, detail: fake.detail } } });
    }
  }

  #ticket(params: Record<string, unknown>): { ticket: string } {
    const ticket = `t${this.#tickets.size}`;
    this.#tickets.set(ticket, params);
    return { ticket };
  }

  #builtin(method: string): Answer {
    const answers: Record<string, Answer> = {
      'rpc.hello': () => this.hello,
      'plugin.cli': () => ({ flags: [], commands: [] }),
      ping: () => ({ pid: this.hello.pid, version: this.hello.version, build: this.hello.build }),
      'vm.list': () => ({ vms: this.vms, columns: [] }),
      'vm.show': ({ params }) => ({ vm: this.vms.find((vm) => vm.id === params['ref']) }),
      'vm.create': ({ params }) => ({ vm: fakeVm('dddddddddddd', typeof params['name'] === 'string' ? params['name'] : 'fresh') }),
      'vm.delete': ({ params }) => ({ id: params['ref'], name: 'gone' }),
      'vm.exec': ({ params }) => this.#ticket(params),
      'vm.exec.logs': ({ params }) => this.#ticket(params),
      'vm.workspace.export': ({ params }) => this.#ticket(params),
    };
    const answer = answers[method];
    if (!answer) throw new FakeError('unknown_method', `Unknown method ${method}`);
    return answer;
  }
}

async function* readFrames(socket: Socket, first: Buffer): AsyncGenerator<{ kind: number; payload: Buffer }> {
  let rest = first;
  const source = socket[Symbol.asyncIterator]() as AsyncIterator<Buffer>;
  for (;;) {
    while (rest.length >= 5 && rest.length >= 5 + rest.readUInt32BE(1)) {
      const size = rest.readUInt32BE(1);
      const frame = { kind: rest[0]!, payload: rest.subarray(5, 5 + size) };
      rest = rest.subarray(5 + size);
      if (frame.kind !== 255) yield frame;
    }
    const next = await source.next().catch(() => ({ done: true as const, value: undefined }));
    if (next.done === true) return;
    rest = rest.length === 0 ? next.value : Buffer.concat([rest, next.value]);
  }
}

function openStream(socket: Socket, first: Buffer): FakeStream {
  const send = (kind: number, payload: Uint8Array | string = ''): Promise<void> => {
    const bytes = Buffer.from(payload as string);
    const header = Buffer.alloc(5);
    header[0] = kind;
    header.writeUInt32BE(bytes.length, 1);
    return new Promise((resolve) => {
      // A closed socket answers at once; a sender in a loop must not keep the news of it from arriving.
      socket.write(Buffer.concat([header, bytes]), (error) => (error ? setImmediate(resolve) : resolve()));
    });
  };
  return {
    send, frames: readFrames(socket, first),
    exit(value) {
      void send(18, JSON.stringify(value)).then(() => socket.end());
    },
    closed: new Promise((resolve) => socket.on('close', () => resolve())),
    destroy: () => void socket.destroy(),
  };
}
