// Pieces that both ways to run a program share: bounded output, lines, redaction, ending a group.
import type { Readable } from 'node:stream';
import { StringDecoder } from 'node:string_decoder';

/** Longer lines are handed on in parts: a program that never ends a line must not fill our memory. */
const maxLineChars = 64 * 1024;

/** Collects a stream's last `maxBytes` bytes; the returned function gives them as text. */
export function outputTail(stream: Readable, maxBytes: number, encoding: 'utf8' | 'latin1' = 'utf8'): () => string {
  let chunks: Buffer[] = [];
  let size = 0;
  stream.on('data', (chunk: Uint8Array) => {
    chunks.push(Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength));
    size += chunk.byteLength;
    // Cutting only at twice the limit keeps the copying linear.
    if (size > 2 * maxBytes) {
      chunks = [tail(chunks, maxBytes)];
      size = chunks[0]?.byteLength ?? 0;
    }
  });
  // A stream we destroy ends with an error that nobody else hears.
  stream.on('error', () => {});
  return () => tail(chunks, maxBytes).toString(encoding);
}

function tail(chunks: readonly Buffer[], maxBytes: number): Buffer {
  const all = Buffer.concat(chunks);
  return all.byteLength > maxBytes ? Buffer.from(all.subarray(all.byteLength - maxBytes)) : all;
}

/** Calls `onLine` for each line; a carriage return ends one too (progress bars). Empty lines are left out. */
export function lineSplitter(stream: Readable, onLine: (line: string) => void): void {
  const decoder = new StringDecoder('utf8');
  let rest = '';
  const feed = (text: string): void => {
    const parts = (rest + text).split(/[\r\n]+/);
    rest = parts.pop() ?? '';
    for (const part of parts) if (part) onLine(part);
    if (rest.length > maxLineChars) {
      onLine(rest);
      rest = '';
    }
  };
  stream.on('data', (chunk: Uint8Array) => feed(decoder.write(Buffer.from(chunk))));
  stream.on('end', () => {
    feed(decoder.end());
    if (rest) onLine(rest);
  });
}

/** The last `count` lines that are not empty. */
export function lastLines(text: string, count: number): string {
  return text.split(/\r?\n/).filter((line) => line.trim() !== '').slice(-count).join('\n');
}

/** Replaces secret words wherever they occur. */
export function redactor(words: readonly string[] | undefined): (text: string) => string {
  const secrets = (words ?? []).filter((word) => word !== '').sort((a, b) => b.length - a.length);
  return (text) => secrets.reduce((result, word) => result.replaceAll(word, '***'), text);
}

/** Signals a process group; one that is gone is no error. */
export function killGroup(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(-pid, signal);
  } catch (error) {
    // EPERM: every member that is left runs as another user; the caller's limit on the wait still holds.
    const code = (error as NodeJS.ErrnoException).code;
    if (code !== 'ESRCH' && code !== 'EPERM') throw error;
  }
}
