// What no client sends: the server ends, with its own exit code, without a word from the sanitizers and without taking memory.
import { execFile } from 'node:child_process';
import { chmodSync, copyFileSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { OPEN, STATUS, Server, TYPE, attributes, body, framed, text, u32, u64 } from './testing/client.ts';
import type { Ended, ServerOptions } from './testing/client.ts';
import { makeScratch } from './testing/fixture.ts';
import { Random } from './testing/random.ts';

const root = new URL('../..', import.meta.url).pathname;
const SESSIONS = process.env['BANGER_TEST_LONG'] === '1' ? 2000 : 100;
const seed = Number(process.env['BANGER_TEST_SEED'] ?? 1);
const BAD_PACKET = 11;
const HELLO = framed(Buffer.concat([Buffer.from([TYPE.init]), u32(3)]));

const scratch = makeScratch();
const cwd = join(scratch.dir, 'open');
/** Someone who can harm nothing: mutated requests may name anything. */
const stranger: Pick<ServerOptions, 'uid'> = process.getuid?.() === 0 ? { uid: 65534 } : {};

beforeAll(async () => {
  await promisify(execFile)('sh', [join(root, 'scripts/build-native.sh'), '--asan'], { cwd: root });
  await promisify(execFile)('sh', [join(root, 'scripts/build-native.sh')], { cwd: root });
  for (const name of ['agent-asan', 'agent']) copyFileSync(join(root, 'dist/native', name), join(scratch.dir, name));
  mkdirSync(cwd);
  chmodSync(cwd, 0o777);
  for (const name of ['f0', 'f1']) writeFileSync(join(cwd, name), name.repeat(1000));
}, 240_000);
afterAll(() => scratch.remove());

const start = (program: string, options: Partial<ServerOptions> = {}): Server => new Server([join(scratch.dir, program), 'sftp'], { cwd, ...stranger, ...options });

/** Sends bytes and the end of input. */
async function feed(bytes: Buffer, program = 'agent-asan'): Promise<Ended> {
  const server = start(program);
  server.write(bytes);
  return server.end();
}

it.each([
  ['a packet before the greeting', framed(body(TYPE.stat, 1, text('f0')))],
  ['a greeting without a version', framed(Buffer.from([TYPE.init, 0, 0]))],
  ['an empty packet', Buffer.concat([HELLO, u32(0), Buffer.alloc(100)])],
  ['a packet of a type alone', Buffer.concat([HELLO, framed(Buffer.from([TYPE.stat]))])],
  ['a length of 0xFFFFFFFF', Buffer.concat([HELLO, u32(0xffffffff), Buffer.alloc(1000)])],
  ['a length of 256 KiB and a byte', Buffer.concat([HELLO, u32((256 << 10) + 1), Buffer.alloc(300_000)])],
  ['a string longer than its packet', Buffer.concat([HELLO, framed(Buffer.concat([body(TYPE.mkdir, 1), u32(100), Buffer.from('made')])), framed(body(TYPE.stat, 2, text('x'.repeat(200))))])],
  ['a string of 0xFFFFFFFF', Buffer.concat([HELLO, framed(body(TYPE.remove, 1, u32(0xffffffff), Buffer.from('f0')))])],
  ['a NUL in a name', Buffer.concat([HELLO, framed(body(TYPE.remove, 1, text('f0\0x')))])],
  ['attributes that are missing', Buffer.concat([HELLO, framed(body(TYPE.mkdir, 1, text('made'))), framed(body(TYPE.setstat, 2, text('f0'), u32(15)))])],
  ['extended attributes without end', Buffer.concat([HELLO, framed(body(TYPE.mkdir, 1, text('made'), u32(0x80000000), u32(0xffffffff), text('a'), text('b')))])],
  ['an extension without arguments', Buffer.concat([HELLO, framed(body(TYPE.extended, 1, text('posix-rename@openssh.com'), text('f0')))])],
  ['half a user', Buffer.concat([HELLO, framed(body(TYPE.extended, 1, text('users-groups-by-id@openssh.com'), text('abcdef'), text('')))])],
  ['a write shorter than it says', Buffer.concat([HELLO, framed(body(TYPE.write, 1, text(u32(0)), u64(0n), u32(50), Buffer.alloc(49)))])],
])('ends at %s', async (_, bytes) => {
  expect(await feed(bytes)).toEqual({ code: BAD_PACKET, signal: null, stderr: '' });
});

it('answers what came before the malformed packet, and does nothing that it asks', async () => {
  const server = start('agent-asan');
  const replies = server.ask([Buffer.concat([Buffer.from([TYPE.init]), u32(3)]), body(TYPE.stat, 7, text('f0'))]);
  server.write(framed(body(TYPE.mkdir, 8, text('made'), u32(4))));
  expect((await replies)[1]!.subarray(0, 5)).toEqual(body(TYPE.attrs, 7));
  expect((await server.ended).code).toBe(BAD_PACKET);
  const after = start('agent-asan');
  await after.greet();
  const [made] = await after.ask([body(TYPE.stat, 9, text('made'))]);
  expect(made!.readUInt32BE(5)).toBe(STATUS.noSuchFile);
  await after.end();
});

it.each([['nothing', Buffer.alloc(0)], ['half a length', Buffer.from([0, 0])], ['half a packet', HELLO.subarray(0, 6)], ['a greeting', HELLO]])('ends well after %s', async (_, bytes) => {
  expect(await feed(bytes)).toEqual({ code: 0, signal: null, stderr: '' });
});

it('ends when nobody takes its answers', async () => {
  const server = start('agent-asan');
  await server.greet();
  server.process.stdout!.destroy();
  server.write(framed(body(TYPE.stat, 1, text('f0'))));
  expect((await server.ended).code).toBe(1);
});

it('lives in 16 MiB, whatever is asked', async () => {
  const server = start('agent', { limits: 'ulimit -v 16384; ulimit -n 300' });
  await server.greet();
  const longest = (256 << 10) - 100;
  const replies = await server.ask([
    body(TYPE.open, 1, text('big'), u32(OPEN.read | OPEN.write | OPEN.create), attributes({ size: 1n })),
    body(TYPE.write, 2, text(u32(0)), u64(0n), text(Buffer.alloc(longest))),
    body(TYPE.read, 3, text(u32(0)), u64(0n), u32(0xffffffff)),
    body(TYPE.stat, 4, text('x'.repeat(longest))),
    body(TYPE.realpath, 5, text('x/'.repeat(longest / 2))),
    body(TYPE.extended, 6, text('expand-path@openssh.com'), text(`~${'x'.repeat(longest - 100)}`)),
    body(TYPE.symlink, 7, text('x'.repeat(longest / 2)), text('y'.repeat(longest / 2))),
    // An answer that would be longer than a packet is none.
    body(TYPE.extended, 8, text('users-groups-by-id@openssh.com'), text(Buffer.alloc(longest - 64)), text('')),
    ...Array.from({ length: 400 }, (_, n) => body(TYPE.opendir, 100 + n, text('.'))),
    ...Array.from({ length: 100 }, (_, n) => body(TYPE.readdir, 600 + n, text(u32(1 + n)))),
    ...Array.from({ length: 64 }, (_, n) => body(TYPE.read, 800 + n, text(u32(0)), u64(0n), u32(0xffffffff))),
  ]);
  const shapes = replies.slice(0, 8).map((reply) => (reply[0] === TYPE.status ? reply.readUInt32BE(5) : [reply[0], reply.length]));
  const { badMessage, failure, noSuchFile, ok } = STATUS;
  expect(shapes).toEqual([[TYPE.handle, 13], ok, [TYPE.data, 9 + (255 << 10)], badMessage, badMessage, noSuchFile, badMessage, failure]);
  const opened = replies.slice(8, 408).filter((reply) => reply[0] === TYPE.handle).length;
  expect(opened > 200 && opened < 300, `${opened} directories open`).toBe(true);
  expect(replies.slice(408, 508).every((reply) => reply[0] === TYPE.name)).toBe(true);
  expect(replies.slice(508).every((reply) => reply.length === 9 + (255 << 10))).toBe(true);
  expect(await server.end()).toEqual({ code: 0, signal: null, stderr: '' });
});

/** A session as a client would hold it: something of every request. */
function session(): Buffer[] {
  const handle = text(u32(0));
  const directory = text(u32(1));
  const names = [text('f0'), text('f1')] as const;
  const name = (extension: string): Buffer => text(extension);
  const some = attributes({ size: 20n, mode: 0o644, times: [1, 2], extended: [['a', 'b']] });
  return [
    body(TYPE.open, 1, names[0], u32(OPEN.read | OPEN.write | OPEN.create), some), body(TYPE.opendir, 2, text('d')), body(TYPE.mkdir, 3, text('d'), some), body(TYPE.opendir, 2, text('d')),
    body(TYPE.write, 4, handle, u64(5n), text('hello')), body(TYPE.read, 5, handle, u64(0n), u32(100)), body(TYPE.fstat, 6, handle), body(TYPE.fsetstat, 7, handle, some),
    body(TYPE.readdir, 8, directory), body(TYPE.lstat, 9, names[0]), body(TYPE.stat, 10, names[1]), body(TYPE.setstat, 11, names[1], some), body(TYPE.realpath, 12, text('d/x')),
    body(TYPE.rename, 13, ...names), body(TYPE.symlink, 14, text('f1'), text('l')), body(TYPE.readlink, 15, text('l')), body(TYPE.open, 16, text('f2'), u32(63), some),
    body(TYPE.extended, 17, name('posix-rename@openssh.com'), ...names), body(TYPE.extended, 18, name('hardlink@openssh.com'), ...names), body(TYPE.extended, 19, name('statvfs@openssh.com'), names[0]),
    body(TYPE.extended, 20, name('fstatvfs@openssh.com'), handle), body(TYPE.extended, 21, name('lsetstat@openssh.com'), text('l'), attributes({ mode: 1, times: [1, 2] })),
    body(TYPE.extended, 22, name('limits@openssh.com')), body(TYPE.extended, 23, name('expand-path@openssh.com'), text('~root/x')),
    body(TYPE.extended, 24, name('copy-data'), handle, u64(0n), u64(9n), text(u32(2)), u64(0n)), body(TYPE.extended, 25, name('users-groups-by-id@openssh.com'), text(u32(0)), text(u32(0))),
    body(TYPE.extended, 26, name('home-directory'), text('root')), body(TYPE.remove, 27, text('l')), body(TYPE.rmdir, 28, text('d')), body(TYPE.close, 29, handle), body(TYPE.close, 30, directory),
  ];
}

/** Changes some bytes, lengths or the order; the frame's length mostly stays right, so that what is behind it is reached. */
function mutate(packets: readonly Buffer[], random: Random): Buffer {
  const rate = random.pick([0.02, 0.1, 0.3]);
  const chosen = packets.filter(() => !random.chance(0.1)).flatMap((packet) => (random.chance(0.05) ? [packet, packet] : [packet]));
  const frames = chosen.map((packet) => {
    let bytes = Buffer.from(packet);
    if (random.chance(rate)) for (let n = 1 + random.below(3); n > 0; n--) bytes[random.below(bytes.length)] = random.pick([0, 1, 4, 0x7f, 0x80, 0xff, random.below(256)]);
    if (random.chance(rate / 10)) bytes = bytes.subarray(0, random.below(bytes.length));
    if (random.chance(0.03)) bytes = Buffer.concat([bytes, random.bytes(random.below(60))]);
    return random.chance(rate / 10) ? Buffer.concat([u32(random.below(64)), bytes]) : framed(bytes);
  });
  return Buffer.concat([HELLO, ...frames]);
}

it(`survives ${SESSIONS} mutated sessions and random bytes under the sanitizers`, { timeout: 600_000 }, async () => {
  const random = new Random(seed);
  const codes = new Map<number | null, number>();
  for (let done = 0; done < SESSIONS; done++) {
    const bytes = done % 20 === 0 ? Buffer.concat([random.chance(0.5) ? HELLO : Buffer.alloc(0), random.bytes(2000)]) : mutate(session(), random);
    // Offsets are mutated, too: no file of a terabyte shall be left.
    const server = start('agent-asan', { limits: 'ulimit -f 20000' });
    server.process.stdout!.resume();
    server.write(bytes);
    const { code, signal, stderr } = await server.end();
    expect({ signal, stderr, known: code === 0 || code === BAD_PACKET }, `seed ${seed}, session ${done}, code ${code}`).toEqual({ signal: null, stderr: '', known: true });
    codes.set(code, (codes.get(code) ?? 0) + 1);
  }
  // Sessions got to their end as well as to a malformed packet.
  expect(codes.get(0)).toBeGreaterThan(SESSIONS / 10);
  expect(codes.get(BAD_PACKET)).toBeGreaterThan(SESSIONS / 10);
});
