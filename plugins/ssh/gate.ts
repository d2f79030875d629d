// The daemon's socket for ssh clients: one line says which VM is meant, then the same socket speaks SSH. No port is open.
import { chmod, rename, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import type { Server, Socket } from 'node:net';
import { dirname, join } from 'node:path';
import type { HostInfo, Logger, Vm, Vms } from '../../core/plugin-api.ts';
import { badRequest, isBangerError, isExpected, vmPaused } from '../../core/plugin-api.ts';
import type { SshServer } from './server.ts';

/** Bytes of the line, its end included. */
const maxLine = 256;
const newline = 10;
/** Of connections that wait to be taken: a crowd is to be refused by us, not by the kernel. */
const backlog = 1024;
const tooMany = 'too many ssh connections have not authenticated yet';

/** Where the gate is: beside the daemon's own socket, also where a long state directory has its sockets elsewhere. */
export function gatePath(host: Pick<HostInfo, 'stateDir' | 'socketPath'>): string {
  const ofVms = dirname(dirname(host.socketPath('0', 'ssh')));
  return join(ofVms === join(host.stateDir, 'vms') ? host.stateDir : ofVms, 'ssh.sock');
}

export interface Gate { close(): Promise<void> }
export interface GateDeps {
  readonly path: string;
  readonly server: SshServer;
  readonly vms: Pick<Vms, 'running' | 'isPaused'>;
  readonly log: Logger;
}

/** Listens. A socket that a killed daemon left is replaced. */
export async function openGate(deps: GateDeps): Promise<Gate> {
  const { path, log } = deps;
  // Paused: nothing of a client that is refused is read.
  const listener = createServer({ pauseOnConnect: true }, (socket) => void meet(socket, deps));
  listener.on('error', (error) => log.warn({ err: error }, 'the ssh socket had an error'));
  // Made under another name and renamed, so that it is never open to others nor missing.
  const making = `${path}.new`;
  await rm(making, { force: true });
  await listen(listener, making);
  await chmod(making, 0o600);
  await rename(making, path);
  return {
    async close() {
      listener.close();
      await rm(path, { force: true });
    },
  };
}

function listen(server: Server, path: string): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen({ path, backlog }, () => {
      server.removeListener('error', reject);
      resolve();
    });
  });
}

async function meet(socket: Socket, { server, vms, log }: GateDeps): Promise<void> {
  const arrival = server.arrive(socket);
  if (arrival === undefined) {
    socket.on('error', () => undefined);
    refuse(socket, tooMany);
    return;
  }
  try {
    const ref = (await readLine(socket, arrival.signal)).replace(/\.vm$/, '');
    if (ref === '') throw badRequest([{ path: 'ref', message: 'names no VM' }]);
    const vm: Vm = await vms.running(ref, arrival.signal);
    if (vms.isPaused(vm.id)) throw vmPaused(vm.name);
    if (socket.destroyed) return;
    socket.write('ok\n');
    await arrival.serve(vm);
  } catch (error) {
    log.debug({ err: error }, 'an ssh client was refused');
    refuse(socket, sentence(error));
  }
}

/** A client that reads no answer is not waited for. */
function refuse(socket: Socket, text: string): void {
  if (socket.destroyed) return;
  socket.write(`error ${text}\n`);
  socket.destroySoon();
}

function sentence(error: unknown): string {
  if (!isBangerError(error) || !isExpected(error.code)) return 'internal error; the daemon\'s log says more';
  return `${error.message}${error.hint === undefined ? '' : ` (${error.hint})`}`.replaceAll(/\p{Cc}/gu, ' ');
}

/** The first line; what came after it stays in the socket. */
function readLine(socket: Socket, signal: AbortSignal): Promise<string> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    let size = 0;
    const done = (settle: () => void): void => {
      socket.off('data', onData);
      socket.off('end', onGone);
      signal.removeEventListener('abort', onGone);
      socket.pause();
      settle();
    };
    const onGone = (): void => done(() => reject(badRequest([{ path: 'ref', message: 'did not come' }])));
    const onData = (chunk: Buffer): void => {
      const end = chunk.indexOf(newline);
      if (size + (end < 0 ? chunk.length : end) >= maxLine) {
        done(() => reject(badRequest([{ path: 'ref', message: `is longer than ${maxLine - 1} bytes` }])));
        return;
      }
      if (end < 0) {
        chunks.push(chunk);
        size += chunk.length;
        return;
      }
      done(() => {
        if (end + 1 < chunk.length) socket.unshift(chunk.subarray(end + 1));
        resolve(Buffer.concat([...chunks, chunk.subarray(0, end)]).toString('utf8'));
      });
    };
    signal.addEventListener('abort', onGone, { once: true });
    socket.on('end', onGone);
    socket.on('data', onData);
    socket.resume();
  });
}
