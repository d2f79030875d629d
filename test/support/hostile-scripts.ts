// Ways in which a guest misbehaves on one stream. Each is an `onOpen` of the hostile agent.
import { randomBytes } from 'node:crypto';
import { windowBytes } from '../../plugins/agent/wire.ts';
import type { HostileStream } from './hostile-agent.ts';

export type Script = (stream: HostileStream) => Promise<void> | void;

/** A header that announces `length` bytes. */
function header(length: number, stream: HostileStream): Buffer {
  const bytes = Buffer.alloc(12);
  bytes.writeUInt32LE(length, 0);
  bytes.writeUInt8(32, 4);
  bytes.writeUInt32LE(stream.id, 8);
  return bytes;
}

/** Breaks the protocol: the session is given up, and whoever used it hears of it at once. */
export const protocolBreakers: Readonly<Record<string, Script>> = {
  'garbage in place of frames': (stream) => {
    stream.opened();
    // Every four bytes would be a length over the limit.
    stream.connection.raw(Buffer.from(randomBytes(64 * 1024).map((byte) => byte | 0x80)));
  },
  'a frame of 4 GiB': (stream) => {
    stream.opened();
    stream.connection.raw(header(0xffff_ffff, stream));
  },
  'more than its window': (stream) => {
    // Before it is open, so that nobody reads meanwhile and gives room back.
    for (let sent = 0; sent <= windowBytes; sent += 32 * 1024) stream.data(Buffer.alloc(32 * 1024));
  },
  'a channel that does not exist': (stream) => {
    stream.opened();
    stream.data('x', 7);
  },
  'data behind the end': (stream) => {
    stream.opened();
    stream.eof();
    stream.data('x');
  },
  'more room than there is': (stream) => {
    stream.opened();
    stream.window(0xffff_ffff);
  },
  'a connection that ends in the middle': (stream) => {
    stream.opened();
    stream.data('ustar');
    stream.connection.destroy();
  },
};

/** Keeps the protocol and the host waiting: only a limit of the host ends these. */
export const stallers: Readonly<Record<string, Script>> = {
  'never a byte': async (stream) => {
    stream.grants = false;
    stream.opened();
    await stream.over;
  },
  'one byte at a time': async (stream) => {
    stream.grants = false;
    stream.opened();
    let granted = 0;
    await stream.every(200, () => {
      stream.data('\0');
      // Room for what did not come would break the protocol.
      if (Buffer.concat(stream.received).length > granted) stream.window(1);
      granted += 1;
    });
  },
  'an end of its output and no exit': async (stream) => {
    stream.opened();
    stream.eof();
    stream.eof(1);
    await stream.over;
  },
  'complaints without end': async (stream) => {
    stream.grants = false;
    stream.opened();
    await stream.every(5, () => stream.data(`${'\u001b[2J'.repeat(200)}\n`, 1));
  },
};

/** Does not even open the stream. */
export const mute: Script = (stream) => stream.over;
