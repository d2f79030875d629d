// Whether a port speaks http or https: asked once, in few bytes, within a limit. Whoever answers is hostile.
import type { Duplex } from 'node:stream';
import { connect as connectTls } from 'node:tls';

export type Scheme = 'http' | 'https';
/** A connection to the port; may reject. */
export type Dial = (signal: AbortSignal) => Promise<Duplex>;

const question = 'HEAD / HTTP/1.1\r\nHost: localhost\r\nUser-Agent: banger\r\nAccept: */*\r\nConnection: close\r\n\r\n';
const statusLine = /^HTTP\/1\.[01] ([1-5]\d\d)/;
/** Longest beginning of an answer that tells. */
const enough = 'HTTP/1.1 200'.length;
/** TLS's record of an alert, which servers answer to what is no TLS. */
const alert = 0x15;

type Answer = { readonly kind: 'http'; readonly status: number } | { readonly kind: 'maybe-tls' } | { readonly kind: 'other' };

/** Undefined: neither, or no answer before the signal. Never rejects. */
export async function probeScheme(dial: Dial, signal: AbortSignal): Promise<Scheme | undefined> {
  const plain = await ask(dial, signal);
  if (plain.kind === 'other') return undefined;
  // Servers of https say 400 in plain words, too.
  if (plain.kind === 'http' && plain.status !== 400) return 'http';
  const secure = await ask(async (limit) => startTls(await dial(limit), limit), signal);
  if (secure.kind === 'http') return 'https';
  return plain.kind === 'http' ? 'http' : undefined;
}

async function ask(dial: Dial, signal: AbortSignal): Promise<Answer> {
  if (signal.aborted) return { kind: 'other' };
  let stream: Duplex;
  try {
    stream = await dial(signal);
  } catch {
    return { kind: 'other' };
  }
  const answer = await firstBytes(stream, signal);
  stream.destroy();
  if (answer === undefined) return { kind: 'other' };
  const status = statusLine.exec(answer.toString('latin1'))?.[1];
  if (status !== undefined) return { kind: 'http', status: Number(status) };
  return { kind: answer.length === 0 || answer[0] === alert ? 'maybe-tls' : 'other' };
}

/** Empty: it ended without a word. Undefined: the signal came first. */
function firstBytes(stream: Duplex, signal: AbortSignal): Promise<Buffer | undefined> {
  return new Promise((resolve) => {
    let bytes: Buffer = Buffer.alloc(0);
    const stop = (): void => resolve(undefined);
    const end = (): void => {
      signal.removeEventListener('abort', stop);
      resolve(bytes);
    };
    signal.addEventListener('abort', stop, { once: true });
    if (signal.aborted) stop();
    stream.on('error', end);
    stream.on('end', end);
    stream.on('close', end);
    stream.on('data', (chunk: Buffer) => {
      bytes = Buffer.concat([bytes, chunk.subarray(0, enough)]);
      // A beginning that can still become the status line is waited for.
      if (bytes.length >= enough || !'HTTP/1.'.startsWith(bytes.toString('latin1', 0, 7))) end();
    });
    stream.write(question);
  });
}

/** Whose certificate it is does not matter here: nothing is believed. */
function startTls(stream: Duplex, signal: AbortSignal): Promise<Duplex> {
  return new Promise((resolve, reject) => {
    const tls = connectTls({ socket: stream, rejectUnauthorized: false, ALPNProtocols: ['http/1.1'], servername: 'localhost' });
    const stop = (): void => {
      stream.destroy();
      tls.destroy();
      reject(new Error('given up'));
    };
    signal.addEventListener('abort', stop, { once: true });
    if (signal.aborted) stop();
    stream.on('error', () => undefined);
    tls.on('close', () => stream.destroy());
    tls.once('error', (error) => {
      stream.destroy();
      reject(error);
    });
    tls.once('secureConnect', () => {
      signal.removeEventListener('abort', stop);
      tls.on('error', () => undefined);
      resolve(tls);
    });
  });
}
