// GET /metrics on a loopback address. Every user of this host can connect, so can a web page that one of them looks at: few connections, short ones,
// one path, and only under an address as the name of the host.
import { createServer } from 'node:http';
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import { isIP } from 'node:net';
import { busy, operationFailed } from '../../../core/plugin-api.ts';
import type { ListenAddress } from '../schema.ts';
import { contentType } from './text.ts';

export interface ListenerOptions {
  readonly address: ListenAddress;
  text(): Promise<string>;
  /** From the first byte of a request to the last of its answer. @default 10000 */
  readonly limitMs?: number;
}
const maxConnections = 16;
const maxHeaderBytes = 8 * 1024;
const plain = 'text/plain; charset=utf-8';

export interface MetricsListener {
  /** The port it got. */
  readonly port: number;
  close(): Promise<void>;
}

/** @throws busy when the port is taken; operation_failed */
export async function listenForMetrics({ address, text, limitMs = 10_000 }: ListenerOptions): Promise<MetricsListener> {
  const server = createServer({
    maxHeaderSize: maxHeaderBytes, headersTimeout: limitMs, requestTimeout: limitMs, connectionsCheckingInterval: Math.min(1000, limitMs), keepAlive: false,
  }, (request, response) => void answer(request, response, text));
  server.maxConnections = maxConnections;
  server.maxRequestsPerSocket = 1;
  server.on('connection', (socket) => {
    // A reader that takes a byte a second would hold one of the few connections for as long as it likes.
    const timer = setTimeout(() => socket.destroy(), limitMs);
    socket.on('close', () => clearTimeout(timer));
  });
  await listen(server, address);
  const bound = server.address();
  return {
    port: typeof bound === 'object' && bound !== null ? bound.port : address.port,
    close: () => new Promise((resolve) => {
      server.close(() => resolve());
      server.closeAllConnections();
    }),
  };
}

async function answer(request: IncomingMessage, response: ServerResponse, text: () => Promise<string>): Promise<void> {
  const [status, body] = await answerTo(request, text);
  // A close after the answer: nobody scrapes twice on one connection in its few seconds.
  response.writeHead(status, {
    'content-type': status === 200 ? contentType : plain, 'content-length': Buffer.byteLength(body), connection: 'close',
    'x-content-type-options': 'nosniff', ...(status === 405 ? { allow: 'GET, HEAD' } : {}),
  });
  response.end(request.method === 'HEAD' ? undefined : body);
}

async function answerTo(request: IncomingMessage, text: () => Promise<string>): Promise<readonly [number, string]> {
  if (!isAddressed(request.headers.host)) return [421, 'Only under an address or localhost\n'];
  if (request.url?.split('?', 1)[0] !== '/metrics') return [404, 'Only /metrics\n'];
  if (request.method !== 'GET' && request.method !== 'HEAD') return [405, 'Only GET\n'];
  try {
    return [200, await text()];
  } catch {
    return [500, 'The metrics could not be made\n']; // the log of the daemon has it from elsewhere
  }
}

/** A page of another site can have a name of its own resolve to this host; it cannot send another Host. */
function isAddressed(host: string | undefined): boolean {
  const name = host?.replace(/:\d+$/, '').replace(/^\[(.*)\]$/, '$1');
  return name !== undefined && (name === 'localhost' || isIP(name) !== 0);
}

function listen(server: Server, { host, port }: ListenAddress): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => {
      reject(error.code === 'EADDRINUSE' ? busy(`Port ${port} of ${host}`, 'another process listens there')
        : operationFailed(`Cannot listen on ${host}:${port}`, { cause: error, hint: 'see metrics_listen in [plugins.stats]' }));
    });
    server.listen({ host, port }, () => {
      server.removeAllListeners('error');
      server.on('error', () => undefined); // of accept: nothing to do but to go on
      resolve();
    });
  });
}
